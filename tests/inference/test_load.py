"""Folders that cannot be loaded are refused with the file or tensor and what was expected; nothing is executed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import jupyter_streaminfer
from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.protocol import StreaminferError

DIGITS = Path(jupyter_streaminfer.__file__).parent / "models" / "digits"


def config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        values = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))

    return edit


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        value = change(tensors.pop(name))
        if value is not None:
            tensors[name] = value
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return edit


def write(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def index(weight_map: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return edit


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


Q = "model.layers.1.self_attn.q_proj.weight"
LLAMA = [
    (remove("config.json"), "config.json is missing"),
    (write("config.json", "{"), "config.json cannot be read"),
    (write("config.json", "[" * 100_000), "config.json cannot be read"),
    (write("config.json", "[]"), "config.json must hold a JSON object, found list"),
    (config(architectures=...), "architectures must be a list"),
    (config(architectures=["GPT2LMHeadModel"]), "'GPT2LMHeadModel' is not supported, expected LlamaForCausalLM"),
    (config(hidden_size=...), "hidden_size must be a whole number .* found None"),
    (config(hidden_size=48.0), "hidden_size must be a whole number"),
    (config(hidden_size=True), "hidden_size must be a whole number"),
    (config(num_hidden_layers=0), "num_hidden_layers must be a whole number from 1"),
    (config(num_hidden_layers=10**9), "num_hidden_layers must be a whole number"),
    (config(max_position_embeddings=10**12), "max_position_embeddings must be"),
    (config(vocab_size=2**20, hidden_size=2**16, intermediate_size=2**18, num_hidden_layers=500), "parameters"),
    (config(num_key_value_heads=3), "not a multiple of num_key_value_heads"),
    (config(head_dim=None, num_attention_heads=5, num_key_value_heads=5), "not a multiple of num_attention_heads"),
    (config(head_dim=11), "head_dim must be even"),
    (config(hidden_act="gelu"), "hidden_act = 'gelu' is not supported, expected 'silu'"),
    (config(attention_bias=True), "attention_bias = True is not supported"),
    (config(rms_norm_eps="x"), "rms_norm_eps must be a number"),
    (config(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4}), "RoPE of type 'llama3' is not supported"),
    (config(rope_parameters=..., rope_scaling={"type": "linear", "factor": 2}), "RoPE of type 'linear'"),
    (config(rope_parameters=7), "rope_parameters must be an object"),
    (config(rope_parameters=..., rope_scaling=[1]), "rope_scaling must be an object"),
    (config(tie_word_embeddings="yes"), "tie_word_embeddings must be true or false"),
    (remove("tokenizer.json"), "tokenizer.json is missing"),
    (remove("model.safetensors"), "model.safetensors is missing .* never read"),
    (write("model.safetensors", "not tensors at all"), "model.safetensors cannot be read as safetensors"),
    (truncate, "model.safetensors cannot be read as safetensors"),
    (tensor(Q, lambda t: None), f"tensor {Q} is missing: expected it with shape \\[48, 48\\]"),
    (tensor(Q, lambda t: t[:-1].clone()), f"tensor {Q} has shape \\[47, 48\\], expected \\[48, 48\\]"),
    (tensor(Q, lambda t: t.to(torch.int32)), f"tensor {Q} is I32, expected one of"),
    (tensor("lm_head.weight", lambda t: None), "tensor lm_head.weight is missing"),
    (index({Q: "../model.safetensors"}), "is not the name of a .safetensors file in the folder"),
    (index({Q: "part.bin"}), "is not the name of a .safetensors file in the folder"),
    (index({Q: "other.safetensors"}), "other.safetensors is missing"),
    (index({"model.embed_tokens.weight": "part.safetensors"}), "tensor .* is missing"),
    (index([]), "weight_map must map"),
]
CLASSIFIER = [
    (config(labels=["a"]), "labels must be"),
    (config(labels=["a"] * 10), "labels must be"),
    (config(input_shape=[]), "input_shape must be a list of sizes"),
    (config(input_shape=[2**20, 2**20]), "input_shape must be a list of sizes"),
    (config(hidden_sizes=[192, -1]), "hidden_sizes must be a list of sizes"),
    (config(image_shape=[8, 9]), "image_shape \\[8, 9\\] does not hold as many numbers"),
    (config(temperature=0), "temperature must be a number"),
    (config(hidden_sizes=[100, 160]), "tensor layers.0.weight has shape \\[192, 64\\], expected \\[100, 64\\]"),
    (tensor("layers.2.bias", lambda t: None), "tensor layers.2.bias is missing"),
    (remove("model.safetensors"), "model.safetensors is missing"),
]


def refusal(folder: Path) -> StreaminferError:
    with pytest.raises(StreaminferError) as caught:
        load_runtime(folder, threads=1)
    assert caught.value.code == "invalid_request"
    return caught.value


@pytest.mark.parametrize(("damage", "said"), LLAMA, ids=[said for _, said in LLAMA])
def test_a_damaged_llama_is_refused(
    llama_folder: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    shutil.copytree(llama_folder, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    assert re.search(said, str(refusal(tmp_path)))


@pytest.mark.parametrize(("damage", "said"), CLASSIFIER, ids=[said for _, said in CLASSIFIER])
def test_a_damaged_classifier_is_refused(tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    shutil.copytree(DIGITS, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    assert re.search(said, str(refusal(tmp_path)))


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    assert "is no folder" in str(refusal(tmp_path / "nothing"))
    (tmp_path / "file").touch()
    assert "is no folder" in str(refusal(tmp_path / "file"))


def test_pickled_weights_are_never_read(llama_folder: Path, tmp_path: Path) -> None:
    """A pickle that would leave a mark if anything unpickled it."""

    class Mark:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "mark",)

    shutil.copytree(llama_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    torch.save(Mark(), tmp_path / "pytorch_model.bin")
    assert "pytorch_model.bin" in str(refusal(tmp_path))
    assert not (tmp_path / "mark").exists()


def test_older_rope_fields_mean_the_same(llama_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(llama_folder, tmp_path, dirs_exist_ok=True)
    config(rope_parameters=..., rope_theta=25000.0, rope_scaling=None)(tmp_path)
    old = load_runtime(tmp_path, threads=1)
    config(rope_theta=..., rope_scaling=..., rope_parameters={"rope_type": "default", "rope_theta": 25000.0})(tmp_path)
    new = load_runtime(tmp_path, threads=1)
    assert torch.equal(old.model.rotations, new.model.rotations)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("own", "budget", "context"), [(16384, 2**20, 2048), (16384, 2**21, 4096), (512, 2**20, 512)])
def test_a_long_context_is_shortened_so_that_sequences_fit_together(
    llama_folder: Path, tmp_path: Path, own: int, budget: int, context: int
) -> None:
    """A model of today has a context of 128 thousand tokens: as one slot it would be refused, or served alone."""
    folder = tmp_path / "model"
    shutil.copytree(llama_folder, folder)
    config(max_position_embeddings=own)(folder)
    values = json.loads((folder / "config.json").read_text())
    width = values["num_key_value_heads"] * values["hidden_size"] // values["num_attention_heads"]
    token_bytes = values["num_hidden_layers"] * 2 * width * 4
    info = load_runtime(folder, cache_bytes=budget * token_bytes // 128).info
    assert info.context_length == context
    assert info.max_batch_size >= 4
