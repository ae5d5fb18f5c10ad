"""Image classification: pictures of any size, made as transformers makes them, the same in any company."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from jupyter_streaminfer.inference.images import Preparation
from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.protocol import Signature, StreaminferError, TensorSpec

from .encoders import answer, company, load_predictor, refused

LABELS = {0: "cat", 1: "dog", 2: "bird"}
SIDE = 32


def build(folder: Path, family: str) -> Path:
    torch.manual_seed(0)
    if family == "vit":
        vit = ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=SIDE,
            patch_size=8, id2label=LABELS, initializer_range=0.3,
        )  # fmt: skip
        ViTForImageClassification(vit).save_pretrained(folder)
    else:
        resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], id2label=LABELS)
        ResNetForImageClassification(resnet).save_pretrained(folder)
    return folder


def prepared(folder: Path, **settings: Any) -> Path:
    values = {
        "size": {"height": SIDE, "width": SIDE},
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5] * 3,
        **settings,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module", params=["vit", "resnet"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(build(tmp_path_factory.mktemp(request.param), request.param))


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return load_predictor(folder)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def confidences(outputs: list[dict]) -> torch.Tensor:
    return torch.tensor(
        [[{s["label"]: s["confidence"] for s in row["scores"]}[name] for name in LABELS.values()] for row in outputs]
    )


def test_batched_is_as_alone_in_every_size(predictor: Predictor) -> None:
    sizes = [(SIDE, SIDE), (40, 31), (20, 50)]
    rows = [picture(*sizes[index % 3], index).tolist() for index in range(64)]
    alone = confidences([answer(predictor, [row])[0] for row in rows])
    for size in (1, 2, 3, 5, 8, 13, 31, 32, 33, 63, 64):
        assert torch.allclose(confidences(company(predictor, rows[:size])), alone[:size], atol=1e-5), size


def test_a_picture_of_the_right_size_is_only_scaled(folder: Path, predictor: Predictor) -> None:
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    image = picture(SIDE, SIDE)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    pixels = (pixels - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / 0.5
    with torch.no_grad():
        expected = model(pixel_values=pixels).logits.softmax(-1)
    assert torch.allclose(confidences(answer(predictor, [image.tolist()])), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "height", "width"),
    [
        ({"size": {"height": 24, "width": 16}}, 50, 40),
        ({"size": {"height": 24, "width": 16}, "resample": 3}, 50, 40),
        ({"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": {"height": 16, "width": 16}}, 50, 41),
        ({"size": {"height": 16, "width": 16}}, 9, 11),
        ({"size": 16, "do_center_crop": True, "crop_size": 14}, 9, 11),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 16}, 12, 30),
        ({"size": {"height": 16, "width": 16}, "do_normalize": False}, 40, 40),
    ],
)
def test_pictures_are_made_as_transformers_makes_them(
    tmp_path: Path, settings: dict[str, Any], height: int, width: int
) -> None:
    pillow = pytest.importorskip("PIL.Image")
    from transformers import CLIPImageProcessorPil

    prepared(tmp_path, **{"do_center_crop": False, "resample": 2, "do_convert_rgb": False, **settings})
    image = picture(height, width)
    processor = CLIPImageProcessorPil.from_pretrained(tmp_path)
    expected = processor(pillow.fromarray(image), return_tensors="pt")["pixel_values"]
    found = Preparation.read(tmp_path / "preprocessor_config.json").pixels([image])
    # Pillow resizes with whole numbers on the way: a step of its 256, or two, is 1/127 here.
    assert found.shape == expected.shape
    assert np.abs(found - expected.numpy()).max() <= 2.1 / 127


def test_a_crop_by_part(tmp_path: Path) -> None:
    prepared(tmp_path, size={"shortest_edge": 16}, crop_pct=0.875)
    made = Preparation.read(tmp_path / "preprocessor_config.json")
    assert (made.shortest, made.crop) == (18, (16, 16))
    prepared(tmp_path, size={"shortest_edge": 384}, crop_pct=0.875)
    made = Preparation.read(tmp_path / "preprocessor_config.json")
    assert (made.height, made.width, made.shortest, made.crop) == (384, 384, None, None)


def test_the_signature_says_what_it_takes(predictor: Predictor) -> None:
    assert predictor.info.signature is not None
    (spec,) = predictor.info.signature.inputs
    assert (spec.dtype, spec.shape) == ("uint8", [None, None, 3])
    assert predictor.info.labels == list(LABELS.values())
    predictor.warm_up()
    assert "row 0 of inputs" in refused(predictor, [[[[256, 0, 0]]]])
    assert "row 0 of inputs" in refused(predictor, [[[[1, 2]]]])


def test_pictures_that_are_made_already(tmp_path: Path) -> None:
    folder = build(tmp_path, "vit")
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(pixel_values=pixels).logits.softmax(-1)
    assert torch.allclose(confidences(answer(load_predictor(folder), pixels.tolist())), expected, atol=1e-5)
    given = Signature([TensorSpec("inputs", "float32", [3, SIDE, SIDE])])
    predictor = load_predictor(prepared(folder), signature=given)
    assert torch.allclose(confidences(answer(predictor, pixels.tolist())), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": {"shortest_edge": 16}}, "different sizes"),
        ({"size": {"height": 16}}, "size must have height and width"),
        ({"size": {"shortest_edge": 16, "longest_edge": 20}}, "longest_edge"),
        ({"resample": 1}, "resample must be one of"),
        ({"image_mean": [1]}, "image_mean must be three numbers"),
        ({"image_std": [0, 1, 1]}, "image_std cannot be 0"),
    ],
)
def test_a_preparation_that_cannot_be_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    prepared(tmp_path, **settings)
    with pytest.raises(StreaminferError, match=message):
        Preparation.read(tmp_path / "preprocessor_config.json")


def test_a_model_of_any_size_needs_to_be_told_which(tmp_path: Path) -> None:
    with pytest.raises(StreaminferError, match=r"preprocessor_config.json is missing"):
        load_predictor(build(tmp_path, "resnet"))
