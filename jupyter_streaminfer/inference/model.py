"""What the generator needs of a causal language model, whichever forward computes it."""

from __future__ import annotations

from typing import Protocol

import torch

from jupyter_streaminfer.inference.batch import Batch


class CausalModel(Protocol):
    """A loaded model and the keys and values of the sequences that run. Used from one thread only."""

    architecture: str
    runner: str
    """Which forward this is, and why it was chosen."""
    dtype: str
    """What the weights are kept in: ``float32``, ``bfloat16`` or ``int8``."""
    device: torch.device
    vocabulary: int
    hidden_size: int
    parameters: int
    weight_bytes: int
    context_length: int
    """Positions that it was made for."""
    token_bytes: int
    """What the keys and values of one token take in the cache."""
    drawn: torch.Tensor | None
    """On the device, int64: the tokens that the last step drew, row by row, for the next one to read.

    None where a step's tokens have to be known, so that no step can be begun before the last one has ended.
    """

    def allocate(self, blocks: int) -> None:
        """Make room for the keys and values of that many blocks of `BLOCK_TOKENS`; once, before the first step."""

    def clear(self, blocks: list[int]) -> None:
        """Zero these blocks: a broken sequence's NaN must not reach the next one that gets them."""

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Compute a step and keep its keys and values: the normed last hidden states of ``batch.outputs``.

        ``[R, hidden_size]`` float32.
        """

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The language model's head: ``[R, hidden_size]`` to ``[R, vocabulary]``, float32."""
