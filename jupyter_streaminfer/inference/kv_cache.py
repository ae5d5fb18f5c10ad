"""Keys and values of the running sequences: one contiguous slot each, allocated up front."""

from __future__ import annotations

import torch

from jupyter_streaminfer.inference.scheduler import Vacancy
from jupyter_streaminfer.protocol import StreaminferError


class KVCache:
    """A float32 tensor per layer, ``[slots, context_length, 2, heads, head_dim]``: keys, then values.

    Both of a token lie side by side, so that writing a step's tokens is one indexed copy a layer, and the first
    ``B`` slots up to the longest length are a view. What no running sequence has computed is zero: attention multiplies
    masked positions by zero, which a NaN that a broken sequence left behind would survive.
    """

    def __init__(
        self,
        *,
        layers: int,
        heads: int,
        head_dim: int,
        context_length: int,
        max_batch_size: int,
        cache_bytes: int,
        device: torch.device,
    ) -> None:
        """Raise `StreaminferError` when the budget does not hold one whole context."""
        slot_bytes = context_length * self.token_bytes(layers, heads, head_dim)
        self.slots = min(max_batch_size, cache_bytes // slot_bytes)
        if self.slots < 1:
            raise StreaminferError(
                "invalid_request",
                f"cache_bytes = {cache_bytes} does not hold the KV cache of one sequence: {context_length} tokens of"
                f" context need {slot_bytes} bytes; raise cache_bytes to that at least",
                field="cache_bytes",
            )
        self.bytes = self.slots * slot_bytes
        self.context_length = context_length
        self.layers = [
            torch.zeros(self.slots, context_length, 2, heads, head_dim, device=device) for _ in range(layers)
        ]
        self.rows = [layer.view(self.slots * context_length, 2 * heads * head_dim) for layer in self.layers]

    @staticmethod
    def token_bytes(layers: int, heads: int, head_dim: int) -> int:
        """What one token's keys and values take."""
        return layers * 2 * heads * head_dim * torch.float32.itemsize

    def vacate(self, vacancy: Vacancy) -> None:
        """Forget a sequence that left, and let the last slot's follow it into the gap."""
        slot, source = vacancy.slot, vacancy.source
        for layer in self.layers:
            layer[slot, : vacancy.length].zero_()
            if source != slot:
                layer[slot, : vacancy.source_length] = layer[source, : vacancy.source_length]
                layer[source, : vacancy.source_length].zero_()
