"""What is added to single logits of single rows: the logit bias, and -inf for what would end an answer too early."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch

from jupyter_streaminfer.inference.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Bias:
    """``values[e]`` is added to the logit of token ``ids[e]`` in row ``rows[e]``; each ``[E]``."""

    rows: torch.Tensor
    ids: torch.Tensor
    values: torch.Tensor

    @classmethod
    def of(cls, sequences: Seq[Sequence], vocabulary: int, device: torch.device) -> Bias | None:
        """The entries of a batch as its sequences are now; None without any."""
        rows: list[int] = []
        ids: list[int] = []
        values: list[float] = []
        for row, sequence in enumerate(sequences):
            entries = list(sequence.sampling.logit_bias.items())
            if sequence.drawn < sequence.sampling.min_tokens:
                # A model may declare an end that its vocabulary does not have.
                entries += [(stop, -torch.inf) for stop in sequence.sampling.stop_ids if stop < vocabulary]
            rows += [row] * len(entries)
            ids += [token for token, _ in entries]
            values += [value for _, value in entries]
        if not rows:
            return None
        return cls(
            torch.tensor(rows, device=device), torch.tensor(ids, device=device), torch.tensor(values, device=device)
        )

    def apply(self, logits: torch.Tensor) -> None:
        """Add to ``logits`` ``[R, vocabulary]`` in place."""
        logits.index_put_((self.rows, self.ids), self.values, accumulate=True)


def changes_at(sequence: Sequence) -> int | None:
    """The position from which on a sequence has fewer entries; None where it keeps those that it has."""
    sampling = sequence.sampling
    if sequence.drawn >= sampling.min_tokens or not sampling.stop_ids:
        return None
    return sequence.prompt_tokens + sampling.min_tokens
