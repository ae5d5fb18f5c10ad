"""Modules that are published: graph and weights apart, no code, and the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from jupyter_streaminfer.inference.published import write_published, write_weights
from jupyter_streaminfer.protocol import Signature, StreaminferError, TensorSpec

from .encoders import answer, company, load_predictor
from .modules import CLASSES, LABELS, TOKENS, Masked, Mlp, rows, seeded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    return folder


class Tied(nn.Module):
    """Two layers with one weight, and two results."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        states = self.second(self.first(x).relu())
        return {"states": states, "norm": states.norm(dim=1)}


@pytest.mark.parametrize("example", [rows(1), rows(4), (rows(2),), {"x": rows(3)}, rows(2).numpy()])
def test_the_answers_are_the_modules(folder: Path, example: Any) -> None:
    module = seeded(Mlp)
    module.first.eval()
    signature = write_published(folder, module, example)
    assert (module.training, module.first.training) == (True, False), "the module is left as it was"
    predictor = load_predictor(folder)
    predictor.warm_up()
    assert predictor.info.signature == signature
    with torch.no_grad():
        expected = module.eval()(rows(7))
    assert torch.allclose(torch.tensor(company(predictor, rows(7).tolist())), expected, atol=1e-6)
    assert torch.allclose(torch.tensor(answer(predictor, rows(1).tolist())), expected[:1], atol=1e-6)


def test_the_weights_are_stored_once_and_go_back(folder: Path) -> None:
    module = nn.Linear(16, 50_000)
    write_published(folder, module, rows(2))
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(sizes) == {"config.json", "program.pt2", "model.safetensors"}
    assert sizes["program.pt2"] < 100_000
    other = nn.Linear(16, 50_000)
    other.load_state_dict(load_file(folder / "model.safetensors"))
    assert torch.equal(other.weight, module.weight)


def test_labels_and_several_results(folder: Path, tmp_path: Path) -> None:
    module = seeded(Mlp)
    write_published(folder, module, rows(2), CLASSES)
    with torch.no_grad():
        expected = module.eval()(rows(1)).softmax(-1)[0]
    (found,) = answer(load_predictor(folder), rows(1).tolist())
    assert found["label"] == LABELS[int(expected.argmax())]
    assert found["confidence"] == pytest.approx(float(expected.max()), abs=1e-6)
    tied = seeded(Tied)
    (tmp_path / "tied").mkdir()
    write_published(tmp_path / "tied", tied, rows(2))
    (found,) = answer(load_predictor(tmp_path / "tied"), rows(1).tolist())
    with torch.no_grad():
        assert found["norm"] == pytest.approx(float(tied(rows(1))["norm"]), abs=1e-5)


def test_rows_of_different_lengths(folder: Path) -> None:
    module = seeded(Masked)
    example = (torch.ones(1, 5, dtype=torch.long), torch.ones(1, 5, dtype=torch.bool))
    write_published(folder, module, example, Signature([TOKENS], kind="tensors"))
    predictor = load_predictor(folder)
    asked = [[1], [2, 3, 4], list(range(40)), [7, 7]]
    with torch.no_grad():
        module.eval()
        alone = torch.cat([module(torch.tensor([row]), torch.ones(1, len(row)).bool()) for row in asked])
    assert torch.allclose(torch.tensor(company(predictor, asked)), alone, atol=1e-5)


def test_new_weights_for_the_same_graph(folder: Path, tmp_path: Path) -> None:
    module = seeded(Mlp)
    write_published(folder, module, rows(2))
    with torch.no_grad():
        module.last.bias.add_(1)
    after = tmp_path / "after"
    after.mkdir()
    write_weights(after, module, folder)
    with torch.no_grad():
        expected = module.eval()(rows(2))
    assert torch.allclose(torch.tensor(answer(load_predictor(after), rows(2).tolist())), expected, atol=1e-6)
    with pytest.raises(StreaminferError, match="other names, shapes or dtypes"):
        write_weights(tmp_path, nn.Linear(16, 3), folder)


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class FixedBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 16) * 2


class Starred(nn.Module):
    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        return x[0]


@pytest.mark.parametrize(
    ("module", "example", "signature", "message", "field"),
    [
        (Branches(), rows(2), None, "torch.export cannot follow the module", "module"),
        (FixedBatch(), rows(2), None, "batches of any size", "module"),
        (Starred(), rows(2), None, "must name its parameters", "module"),
        (lambda x: x, rows(2), None, "must be a torch.nn.Module, found function", "module"),
        (Mlp(), [1, 2], None, "must be a tensor or an array", "example"),
        (Mlp(), torch.tensor(1.0), None, "must be a tensor or an array of rows", "example"),
        (Mlp(), (rows(1), rows(1)), None, "does not fit the module's forward", "example"),
        (Mlp(), {"y": rows(1)}, None, "does not fit the module's forward", "example"),
        (Masked(), (torch.ones(2, 3), torch.ones(4, 3)), None, "as many rows as each other", "example"),
        (Mlp(), rows(2), Signature([TensorSpec("y", "float32", [16])]), "inputs must be", "signature"),
        (Mlp(), rows(2), Signature(CLASSES.inputs, kind="classes", labels=["a"]), "1 labels for", "signature"),
        (Mlp().half(), rows(2).half(), None, "is torch.float16", "path"),
    ],
)
def test_what_cannot_be_published_says_why(
    folder: Path, module: Any, example: Any, signature: Signature | None, message: str, field: str
) -> None:
    with pytest.raises(StreaminferError, match=message) as refusal:
        write_published(folder, module, example, signature)
    assert refusal.value.field == field


def edited(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_that_is_broken_is_refused(folder: Path) -> None:
    write_published(folder, seeded(Mlp), rows(2))
    config = (folder / "config.json").read_text()
    edited(folder, format=2)
    with pytest.raises(StreaminferError, match="format must be 1, found 2"):
        load_predictor(folder)
    edited(folder, format=1, signature={"inputs": 3})
    with pytest.raises(StreaminferError, match="signature"):
        load_predictor(folder)
    (folder / "config.json").write_text(config)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(StreaminferError, match="cannot be read as safetensors"):
        load_predictor(folder)
    weights.unlink()
    with pytest.raises(StreaminferError, match=r"model.safetensors is missing"):
        load_predictor(folder)
    weights.write_bytes(whole)
    tensors = load_file(weights)
    save_file({**tensors, "last.bias": torch.zeros(4)}, weights)
    with pytest.raises(StreaminferError, match=r"tensor last.bias is torch.float32 of shape \[4\]"):
        load_predictor(folder)
    save_file({name: tensor for name, tensor in tensors.items() if name != "last.bias"}, weights)
    with pytest.raises(StreaminferError, match=r"tensor last.bias is missing"):
        load_predictor(folder)
    save_file({**tensors, "last.bias": torch.full((3,), torch.inf)}, weights)
    with pytest.raises(StreaminferError, match=r"tensor last.bias holds NaN or infinity"):
        load_predictor(folder)


def test_a_program_without_weights_needs_them(folder: Path, tmp_path: Path) -> None:
    write_published(folder, seeded(Mlp), rows(2))
    with pytest.raises(StreaminferError, match="has no weights of its own"):
        load_predictor(folder / "program.pt2")


def test_a_load_tells_how_far_it_is(folder: Path) -> None:
    write_published(folder, seeded(Mlp), rows(2))
    told: list[tuple[str, int, int]] = []
    load_predictor(folder, progress=lambda stage, done=0, total=0: told.append((stage, done, total)))
    total = sum(tensor.nbytes for tensor in load_file(folder / "model.safetensors").values())
    reading = [done for stage, done, _ in told if stage == "reading"]
    assert reading == sorted(reading)
    assert ("reading", total, total) in told
    assert told[-1][0] == "preparing"


def test_what_the_server_would_refuse_is_refused_at_once(folder: Path) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    module = BertModel(BertConfig(vocab_size=20, **sizes))
    with pytest.raises(StreaminferError, match="wrap the module") as refusal:
        write_published(folder, module, {"input_ids": torch.ones(2, 3, dtype=torch.long)})
    assert refusal.value.code == "invalid_request"
