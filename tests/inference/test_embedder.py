"""Embeddings by encoders: pooled as the folder says, the same in any company."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, PreTrainedTokenizerFast

from jupyter_streaminfer.inference.pooling import MODES, pool
from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.protocol import Embed, Embedded, EmbedJob, Rejected, StreaminferError

from .encoders import FAMILIES, answer, build_encoder, company, load_predictor, texts


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(tmp_path_factory.mktemp(request.param), request.param, "Model")


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return load_predictor(folder)


def sentences(folder: Path, pooling: dict[str, Any], *more: str, **settings: Any) -> Path:
    """A folder as sentence-transformers lays it out."""
    build_encoder(folder, "bert", "Model")
    parts = [("Transformer", ""), ("Pooling", "1_Pooling"), *((kind, f"2_{kind}") for kind in more)]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16, **settings}))
    return folder


def states(folder: Path, text: str) -> torch.Tensor:
    ids = PreTrainedTokenizerFast.from_pretrained(folder)(text)["input_ids"]
    with torch.no_grad():
        return AutoModel.from_pretrained(folder).eval()(input_ids=torch.tensor([ids])).last_hidden_state[0]


def test_a_plain_encoder_is_pooled_by_the_mean(folder: Path, predictor: Predictor) -> None:
    (found,) = answer(predictor, ["anna lives in paris"])
    assert torch.allclose(torch.tensor(found), states(folder, "anna lives in paris").mean(0), atol=1e-5)
    assert predictor.info.signature is not None
    assert predictor.info.signature.kind == "embedding"
    assert predictor.info.signature.outputs[0].shape == [32]


def test_batched_is_as_alone_in_every_size(predictor: Predictor) -> None:
    rows = texts(64)
    alone = torch.tensor([answer(predictor, [row])[0] for row in rows])
    for size in range(1, 65):
        assert torch.allclose(torch.tensor(company(predictor, rows[:size])), alone[:size], atol=1e-5), size


@pytest.mark.parametrize("normalize", [False, True])
def test_it_answers_requests_for_embeddings(folder: Path, predictor: Predictor, normalize: bool) -> None:
    rows = ["anna lives in paris", "paul", [2, 5, 3]]
    assert predictor.submit(EmbedJob("e", Embed("1", "m", rows, normalize=normalize))) is None
    # In the same batch as predictions, whose vectors stay as they are.
    assert predictor.submit(EmbedJob("f", Embed("2", "m", ["paul"]))) is None
    events = {}
    while predictor.due_in() is not None:
        events |= {event.job: event for event in predictor.step()}
    embedded = events["e"]
    assert isinstance(embedded, Embedded)
    vectors = torch.tensor(embedded.vectors)
    expected = states(folder, "paul").mean(0)
    assert torch.allclose(torch.tensor(events["f"].vectors[0]), expected, atol=1e-5)
    if normalize:
        expected = expected / expected.norm()
    assert torch.allclose(vectors[1], expected, atol=1e-5)
    assert embedded.prompt_tokens == 6 + 3 + 3


def test_another_pooling_is_refused(predictor: Predictor) -> None:
    rejected = predictor.submit(EmbedJob("e", Embed("1", "m", ["paul"], pooling="last")))
    assert isinstance(rejected, Rejected)
    assert rejected.error.field == "pooling"


@pytest.mark.parametrize("mode", MODES)
def test_sentence_transformers_folders(tmp_path: Path, mode: str) -> None:
    others = {f"pooling_mode_{each}": each == mode for each in MODES}
    folder = sentences(tmp_path, others, "Normalize", do_lower_case=True)
    predictor = load_predictor(folder)
    (found,) = answer(predictor, ["Anna lives in Paris"])
    each = states(folder, "anna lives in paris")
    expected = {
        "cls_token": each[0],
        "lasttoken": each[-1],
        "max_tokens": each.amax(0),
        "mean_tokens": each.mean(0),
        "mean_sqrt_len_tokens": each.sum(0) / len(each) ** 0.5,
    }[mode]
    assert torch.allclose(torch.tensor(found), expected / expected.norm(), atol=1e-5)
    rejected = answer(predictor, [" ".join(["walk"] * 15)])
    assert "16 at most" in rejected.message
    predictor.warm_up()


def test_several_poolings_are_joined() -> None:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(2, 5, 3, generator=generator)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    found = pool(whole, mask, MODES)
    alone = torch.cat([pool(whole[:1], mask[:1], MODES), pool(whole[1:, :2], mask[1:, :2], MODES)])
    assert found.shape == (2, 15)
    assert torch.allclose(found, alone)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "[1]", "modules.json must be a list"),
        (
            "modules.json",
            '[{"type": "Transformer", "path": ""}, {"type": "Dense", "path": "2"}]',
            "found Transformer, Dense",
        ),
        (
            "modules.json",
            '[{"type": "Transformer", "path": "../x"}, {"type": "Pooling", "path": "1_Pooling"}]',
            "no folder",
        ),
        (
            "modules.json",
            '[{"type": "Transformer", "path": "/x"}, {"type": "Pooling", "path": "1_Pooling"}]',
            "no folder",
        ),
        ("1_Pooling/config.json", "{}", "the pooling must be"),
        ("1_Pooling/config.json", '{"pooling_mode_weightedmean_tokens": true}', "the pooling must be"),
    ],
)
def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, file: str, content: str, message: str) -> None:
    folder = sentences(tmp_path, {"pooling_mode_mean_tokens": True})
    (folder / file).write_text(content)
    with pytest.raises(StreaminferError, match=message):
        load_predictor(folder)


def test_the_short_form_of_a_pooling(tmp_path: Path) -> None:
    folder = sentences(tmp_path, {"pooling_mode": "cls"})
    (found,) = answer(load_predictor(folder), ["paul"])
    assert torch.allclose(torch.tensor(found), states(folder, "paul")[0], atol=1e-5)
