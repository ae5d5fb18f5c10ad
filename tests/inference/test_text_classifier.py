"""Sequence classification: the probabilities of transformers, in any company, and nothing longer than the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.protocol import StreaminferError

from .encoders import FAMILIES, LIMIT, VOCABULARY, answer, build_encoder, company, load_predictor, refused, texts

LABELS = {0: "sad", 1: "glad", 2: "neither"}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    return build_encoder(tmp_path_factory.mktemp(name), name, "ForSequenceClassification", id2label=LABELS)


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return load_predictor(folder)


def confidences(outputs: list[dict]) -> torch.Tensor:
    return torch.tensor(
        [
            [next(s["confidence"] for s in row["scores"] if s["label"] == label) for label in LABELS.values()]
            for row in outputs
        ]
    )


def test_the_answers_are_those_of_transformers(folder: Path, predictor: Predictor) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    rows = texts(5)
    with torch.no_grad():
        expected = torch.cat(
            [model(input_ids=torch.tensor([tokenizer(row)["input_ids"]])).logits.softmax(-1) for row in rows]
        )
    found = answer(predictor, rows)
    assert torch.allclose(confidences(found), expected, atol=1e-5)
    assert [row["label"] for row in found] == [LABELS[index] for index in expected.argmax(-1).tolist()]


def test_batched_is_as_alone_in_every_size(predictor: Predictor) -> None:
    rows = texts(64)
    alone = confidences([answer(predictor, [row])[0] for row in rows])
    for size in range(1, 65):
        together = confidences(company(predictor, rows[:size]))
        assert torch.allclose(together, alone[:size], atol=1e-5), size


def test_texts_and_their_token_ids_are_the_same(folder: Path, predictor: Predictor) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    rows = texts(3)
    ids = [tokenizer(row)["input_ids"] for row in rows]
    assert torch.allclose(confidences(answer(predictor, ids)), confidences(answer(predictor, rows)), atol=1e-6)


def test_the_signature_says_what_it_takes(predictor: Predictor) -> None:
    info = predictor.info
    assert info.task == "predict"
    assert info.signature is not None
    (spec,) = info.signature.inputs
    assert (spec.dtype, spec.max_length, spec.maximum) == ("text", LIMIT, VOCABULARY - 1)
    assert info.signature.kind == "classes"
    assert info.labels == list(LABELS.values())
    assert info.parameters > 0
    assert info.weight_bytes >= 4 * info.parameters
    assert (info.device, info.dtype, info.runner) == ("cpu", "float32", "transformers")


def test_a_longer_text_is_refused_with_the_limit(predictor: Predictor) -> None:
    answer(predictor, [" ".join(["walk"] * (LIMIT - 2))])
    message = refused(predictor, ["paul", " ".join(["walk"] * (LIMIT - 1))])
    assert message.startswith("row 1 of inputs")
    assert f"{LIMIT + 1} tokens" in message
    assert str(LIMIT) in message


def test_bad_token_ids_are_refused(predictor: Predictor) -> None:
    assert "row 1 of inputs" in refused(predictor, ["paul", [VOCABULARY]])
    assert "row 0 of inputs" in refused(predictor, [[-1]])
    assert "row 0 of inputs" in refused(predictor, [[]])
    assert "row 0 of inputs" in refused(predictor, [3])


def test_warm_up_computes(predictor: Predictor) -> None:
    predictor.warm_up()


@pytest.mark.parametrize(("problem", "labels"), [("multi_label_classification", 3), (None, 1), ("regression", 2)])
def test_heads_of_other_problems(tmp_path: Path, problem: str | None, labels: int) -> None:
    folder = build_encoder(tmp_path, "bert", "ForSequenceClassification", num_labels=labels, problem_type=problem)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    predictor = load_predictor(folder)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[2, 5, 6, 3]])).logits[0]
    (found,) = answer(predictor, [[2, 5, 6, 3]])
    if problem == "multi_label_classification":
        scores = {each["label"]: each["confidence"] for each in found["scores"]}
        assert torch.allclose(torch.tensor([scores[f"LABEL_{i}"] for i in range(3)]), logits.sigmoid(), atol=1e-5)
    else:
        assert predictor.info.signature is not None
        assert predictor.info.signature.kind == "tensors"
        assert torch.allclose(torch.tensor(found), logits, atol=1e-5)


def test_without_a_tokenizer_it_takes_token_ids_only(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path, "bert", "ForSequenceClassification", id2label=LABELS)
    (folder / "tokenizer.json").unlink()
    predictor = load_predictor(folder)
    assert answer(predictor, [[2, 5, 3], [2, 3]])
    assert "row 0 of inputs" in refused(predictor, ["paul"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id2label": {0: "same", 1: "same", 2: "other"}}, "id2label"),
        ({"id2label": {0: "one", 1: "two"}}, r"tensor classifier.bias has shape \[3\], expected \[2\]"),
        ({"id2label": LABELS, "_attn_implementation": "someone/kernels"}, "must be eager or sdpa"),
        ({"id2label": LABELS, "quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    folder = build_encoder(tmp_path, "bert", "ForSequenceClassification", id2label=LABELS)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(StreaminferError, match=message):
        load_predictor(folder)


def test_a_truncated_file_and_a_missing_tensor_are_refused(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path, "bert", "ForSequenceClassification", id2label=LABELS)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(StreaminferError, match="transformers cannot load this model"):
        load_predictor(folder)
    path.write_bytes(whole)
    tensors = load_file(path)
    del tensors["classifier.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(StreaminferError, match=r"tensor classifier.weight is missing"):
        load_predictor(folder)


def test_a_load_tells_how_far_it_is(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path, "bert", "ForSequenceClassification", id2label=LABELS)
    told: list[tuple[str, int, int]] = []
    load_predictor(folder, progress=lambda stage, done=0, total=0: told.append((stage, done, total)))
    size = (folder / "model.safetensors").stat().st_size
    assert told == [("reading", 0, size), ("reading", size, size), ("preparing", 0, 0)]
