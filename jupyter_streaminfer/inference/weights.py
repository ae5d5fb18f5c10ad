"""The Llama family's tensors as the lean forwards want them: checked, and query, key and value fused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One block, on the CPU, ``[out, in]``; bias and norms are float32. May be views of the file: copy what is kept."""

    attention_norm: torch.Tensor
    """``[hidden]``, as is ``mlp_norm``: what the norm before each half of the block multiplies with."""
    mlp_norm: torch.Tensor
    qkv: torch.Tensor
    """``[(heads + 2 * kv_heads) * head_dim, hidden]``: queries, keys, values; a head's rotary pairs lie
    ``head_dim / 2`` apart."""
    qkv_bias: torch.Tensor | None
    query_norm: torch.Tensor | None
    """``[head_dim]``, as is ``key_norm``."""
    key_norm: torch.Tensor | None
    output: torch.Tensor
    """``[hidden, heads * head_dim]``."""
    gate: torch.Tensor
    """``[intermediate, hidden]``, as is ``up``."""
    up: torch.Tensor
    down: torch.Tensor
    """``[hidden, intermediate]``."""


class Weights:
    """Reads an open `Checkpoint` piece by piece: nothing is kept here, so each piece can go once it is packed.

    Raises `StreaminferError` naming the tensor that is missing, misshapen or not finite.
    """

    def __init__(self, checkpoint: Checkpoint, architecture: Architecture, dtype: torch.dtype = torch.float32) -> None:
        """``dtype``: float32 or bfloat16, what the matrices are returned in."""
        self.checkpoint = checkpoint
        self.architecture = architecture
        self.dtype = dtype

    def embedding(self) -> torch.Tensor:
        """``[vocabulary, hidden]``; may be a view of the file."""
        size = self.architecture
        return self._matrix("model.embed_tokens.weight", size.vocabulary, size.hidden)

    def norm(self) -> torch.Tensor:
        """What the last norm multiplies with, ``[hidden]`` float32."""
        return self.checkpoint.tensor("model.norm.weight", self.architecture.hidden)

    def head(self) -> torch.Tensor:
        """``[vocabulary, hidden]``, the embedding of a tied model; may be a view of the file."""
        size = self.architecture
        if size.tied:
            return self.embedding()
        return self._matrix("lm_head.weight", size.vocabulary, size.hidden)

    def layers(self) -> Iterator[LayerWeights]:
        """One block after the other."""
        return (self._layer(f"model.layers.{index}.") for index in range(self.architecture.layers))

    def _layer(self, prefix: str) -> LayerWeights:
        size = self.architecture
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        width, kv_width = size.heads * size.head_dim, size.kv_heads * size.head_dim
        projections = (("q_proj", width), ("k_proj", kv_width), ("v_proj", kv_width))
        parts = [self._matrix(f"{attention}{name}.weight", rows, size.hidden) for name, rows in projections]
        biases = [
            self.checkpoint.tensor(f"{attention}{name}.bias", rows) for name, rows in projections if size.qkv_bias
        ]
        norms = [
            self.checkpoint.tensor(f"{attention}{name}.weight", size.head_dim) if size.qk_norm else None
            for name in ("q_norm", "k_norm")
        ]
        return LayerWeights(
            attention_norm=self.checkpoint.tensor(prefix + "input_layernorm.weight", size.hidden),
            mlp_norm=self.checkpoint.tensor(prefix + "post_attention_layernorm.weight", size.hidden),
            qkv=torch.cat(parts),
            qkv_bias=torch.cat(biases) if biases else None,
            query_norm=norms[0],
            key_norm=norms[1],
            output=self._matrix(attention + "o_proj.weight", size.hidden, width),
            gate=self._matrix(mlp + "gate_proj.weight", size.intermediate, size.hidden),
            up=self._matrix(mlp + "up_proj.weight", size.intermediate, size.hidden),
            down=self._matrix(mlp + "down_proj.weight", size.hidden, size.intermediate),
        )

    def _matrix(self, name: str, *shape: int) -> torch.Tensor:
        return self.checkpoint.stored(name, *shape).to(self.dtype)
