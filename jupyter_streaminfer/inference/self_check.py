"""A forward over blocks, compared with a plain one of the same model before anybody is served by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from jupyter_streaminfer.inference.batch import build_batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.model import CausalModel
from jupyter_streaminfer.inference.scheduler import Chunk
from jupyter_streaminfer.inference.sequence import Sequence

LENGTH = 2 * BLOCK_TOKENS + 5
LONGEST = 16 * LENGTH
"""A window up to this is exceeded; a longer prompt would take too long to compute at load."""


@dataclass(frozen=True)
class SelfCheck:
    """A long and a short prompt of random tokens, and the logits of every position that they should give."""

    prompts: tuple[list[int], list[int]]
    expected: tuple[torch.Tensor, torch.Tensor]
    """Each ``[T, vocabulary]``, float32 on the CPU."""

    @classmethod
    def prepare(
        cls,
        plain: Callable[[list[int]], torch.Tensor],
        *,
        vocabulary: int,
        context_length: int,
        window: int | None = None,
    ) -> SelfCheck:
        """``plain`` computes a prompt's logits; ``window`` is the shortest of the model's sliding windows."""
        length = LENGTH if window is None or window > LONGEST else window + LENGTH
        length = min(length, context_length)
        draw = torch.Generator().manual_seed(0)
        long = torch.randint(vocabulary, (length,), generator=draw).tolist()
        short = torch.randint(vocabulary, ((length + 1) // 2,), generator=draw).tolist()
        return cls((long, short), (plain(long), plain(short)))

    def deviation(self, model: CausalModel) -> float:
        """The greatest difference of a logit, in standard deviations of the expected ones; NaN when one is NaN.

        The prompts are computed beside each other, in chunks and token by token, in blocks that are out of order.
        Allocates the model's blocks.
        """
        blocks = 2 * -(-len(self.prompts[0]) // BLOCK_TOKENS)
        model.allocate(blocks)
        worst = torch.zeros(())
        sequences = [Sequence(str(index), prompt, 1, reads_from=0) for index, prompt in enumerate(self.prompts)]
        for sequence in sequences:
            sequence.blocks = list(range(blocks))[::-2] if sequence.job == "0" else list(range(blocks))[::2]
        long, short = sequences
        for counts in ((long.pending // 2, short.pending - 1), (long.pending - long.pending // 2 - 1, 1), (1, 0)):
            chunks = [Chunk(one, count) for one, count in zip(sequences, counts, strict=True) if count]
            if not chunks:
                continue
            logits = model.logits(model.hidden(build_batch(chunks))).cpu()
            expected = torch.cat([self._rows(chunk) for chunk in chunks])
            worst = torch.maximum(worst, (logits - expected).abs().max() / expected.std())
            for chunk in chunks:
                chunk.sequence.computed += chunk.count
        return float(worst)

    def _rows(self, chunk: Chunk) -> torch.Tensor:
        start = chunk.sequence.computed
        return self.expected[int(chunk.sequence.job)][start : start + chunk.count]
