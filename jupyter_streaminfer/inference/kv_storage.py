"""Keys and values of all sequences, in blocks that a scheduler hands out by number."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch

from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS


class KVStorage:
    """A tensor a layer, ``[blocks, BLOCK_TOKENS, 2, kv_heads, head_dim]``: a token's keys, then its values.

    What was never written is zero: attention multiplies masked positions by zero, which a NaN would survive.
    """

    def __init__(self, shapes: Seq[tuple[int, int]], dtype: torch.dtype, device: torch.device) -> None:
        """``shapes``: ``(kv_heads, head_dim)`` of each layer."""
        self.shapes = list(shapes)
        self.dtype = dtype
        self.device = device
        self.layers: list[torch.Tensor] = []

    @property
    def token_bytes(self) -> int:
        """What one token's keys and values take in all layers."""
        return sum(2 * heads * head_dim for heads, head_dim in self.shapes) * self.dtype.itemsize

    def allocate(self, blocks: int) -> None:
        """Make room for that many blocks; what was there is gone."""
        self.layers = [
            torch.zeros(blocks, BLOCK_TOKENS, 2, heads, head_dim, dtype=self.dtype, device=self.device)
            for heads, head_dim in self.shapes
        ]

    def clear(self, blocks: list[int]) -> None:
        """Zero these blocks in all layers."""
        for layer in self.layers:
            layer[blocks] = 0
