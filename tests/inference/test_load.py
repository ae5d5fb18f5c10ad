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

from .conftest import FORWARDS, build_folder, load_generator

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
    (config(architectures=["A", "B"]), "architectures must be a list of one name"),
    (config(architectures=["Unknown"], model_type="unknown"), "transformers cannot load this model"),
    (config(architectures=["GPT2LMHeadModel"], model_type="gpt2"), "tensor transformer\\.\\S+ is missing"),
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
    (config(attention_bias=True), "tensor \\S+_proj.bias is missing"),
    (config(rms_norm_eps="x"), "rms_norm_eps must be a number"),
    (config(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4}), "factor must be a number .* found None"),
    (config(rope_parameters={"rope_type": "linear", "factor": 0.5}), "factor must be a number"),
    (config(rope_parameters={"rope_type": "unknown", "rope_theta": 1e4}), "transformers cannot load this model"),
    (config(rope_parameters=7), "rope_parameters must be an object"),
    (config(rope_parameters=..., rope_scaling=[1]), "rope_scaling must be an object"),
    (config(tie_word_embeddings="yes"), "tie_word_embeddings must be true or false"),
    (remove("tokenizer.json"), "tokenizer.json is missing"),
    (remove("model.safetensors"), "model.safetensors is missing .* never read"),
    (write("model.safetensors", "not tensors at all"), "model.safetensors cannot be read as safetensors"),
    (truncate, "model.safetensors cannot be read as safetensors"),
    (tensor(Q, lambda t: None), f"tensor {Q} is missing: expected it with shape \\[64, 48\\]"),
    (tensor(Q, lambda t: t[:-1].clone()), f"tensor {Q} has shape \\[63, 48\\], expected \\[64, 48\\]"),
    (tensor(Q, lambda t: t.to(torch.int32)), f"tensor {Q} is I32, expected one of"),
    (tensor(Q, lambda t: t.index_fill(0, torch.tensor([3]), torch.nan)), f"tensor {Q} holds NaN or infinity"),
    (tensor("model.norm.weight", lambda t: t * torch.inf), "tensor model.norm.weight holds NaN or infinity"),
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


@pytest.mark.parametrize("head_dim", FORWARDS.values(), ids=FORWARDS.keys())
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"])
def test_one_weight_that_is_not_a_number_is_enough(tmp_path: Path, head_dim: int, name: str) -> None:
    folder = build_folder(tmp_path, head_dim=head_dim)
    tensor(name, lambda t: t.index_put((torch.tensor(7), torch.tensor(11)), torch.tensor(-torch.inf)))(folder)
    assert f"tensor {name} holds NaN or infinity" in str(refusal(folder))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = build_folder(tmp_path, vocab_size=300)
    assert "tokenizer.json has token id 319, but config.json's vocab_size is 300" in str(refusal(folder))


def test_a_cache_without_a_block_is_refused(llama_folder: Path) -> None:
    block = load_generator(llama_folder).model.token_bytes * 16
    with pytest.raises(StreaminferError, match=f"16 tokens take {block} bytes") as caught:
        load_generator(llama_folder, cache_bytes=block - 1)
    assert (caught.value.code, caught.value.field) == ("invalid_request", "cache_bytes")
    assert load_generator(llama_folder, cache_bytes=block).info.context_length == 16
