"""Tensors as they are in the file, fused, and refused when they are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import build_causal
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.checkpoint import Checkpoint, read_json
from jupyter_streaminfer.inference.weights import LayerWeights, Weights
from jupyter_streaminfer.protocol import StreaminferError

FIELDS = {
    "vocab_size": 60,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
UP = "model.layers.1.mlp.up_proj.weight"


def everything(
    folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, torch.Tensor | None], list[LayerWeights]]:
    """Read all there is: what belongs to no layer, and the layers."""
    with Checkpoint(folder) as checkpoint:
        weights = Weights(checkpoint, Architecture.read(read_json(folder / "config.json")), dtype)
        single = {"embedding": weights.embedding(), "norm": weights.norm(), "head": weights.head()}
        return {name: tensor.clone() for name, tensor in single.items()}, list(weights.layers())


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_reads_what_transformers_reads(
    tmp_path: Path, config: type[LlamaConfig], kept: torch.dtype, stored: str
) -> None:
    folder = build_causal(tmp_path, config(**FIELDS), dtype=stored)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    single, layers = everything(folder, kept)
    assert torch.equal(single["embedding"], model.model.embed_tokens.weight.to(kept))
    assert torch.equal(single["head"], model.lm_head.weight.to(kept))
    assert torch.equal(single["norm"], model.model.norm.weight)
    for found, layer in zip(layers, model.model.layers, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        assert torch.equal(found.qkv, torch.cat([one.weight for one in projections]).to(kept))
        assert torch.equal(found.output, attention.o_proj.weight.to(kept))
        assert torch.equal(found.gate, mlp.gate_proj.weight.to(kept))
        assert torch.equal(found.up, mlp.up_proj.weight.to(kept))
        assert torch.equal(found.down, mlp.down_proj.weight.to(kept))
        assert torch.equal(found.attention_norm, layer.input_layernorm.weight)
        assert torch.equal(found.mlp_norm, layer.post_attention_layernorm.weight)
        assert (found.qkv_bias is not None) == (config is Qwen2Config)
        if found.qkv_bias is not None:
            assert torch.equal(found.qkv_bias, torch.cat([one.bias for one in projections]))
        assert (found.query_norm is not None) == (found.key_norm is not None) == (config is Qwen3Config)
        if found.query_norm is not None and found.key_norm is not None:
            assert torch.equal(found.query_norm, attention.q_norm.weight)
            assert torch.equal(found.key_norm, attention.k_norm.weight)


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    single, _ = everything(build_causal(tmp_path, LlamaConfig(**FIELDS, tie_word_embeddings=True)))
    assert torch.equal(single["head"], single["embedding"])


def test_shards_are_one_model(tmp_path: Path) -> None:
    folder = build_causal(tmp_path / "whole", LlamaConfig(**FIELDS))
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    (one, layers), (other, others) = everything(folder), everything(tmp_path / "shards")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(left.down, right.down) for left, right in zip(layers, others, strict=True))


def with_one(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor[2, 3] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: None, "is missing: expected it with shape"),
        (lambda tensor: tensor[:, 1:].contiguous(), r"has shape \[40, 23\], expected \[40, 24\]"),
        (lambda tensor: tensor.to(torch.int8), "is I8, expected one of"),
        (with_one(torch.nan), "holds NaN or infinity"),
        (with_one(torch.inf), "holds NaN or infinity"),
        (with_one(-torch.inf), "holds NaN or infinity"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_refuses_a_tensor_by_name(
    tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor | None], reason: str, dtype: str
) -> None:
    folder = build_causal(tmp_path, LlamaConfig(**FIELDS), dtype=dtype)
    tensors = load_file(folder / "model.safetensors")
    changed = change(tensors.pop(UP))
    save_file(tensors | ({} if changed is None else {UP: changed}), folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(StreaminferError, match=f"tensor {UP} {reason}") as caught:
        everything(folder)
    assert caught.value.info.field == "path"
