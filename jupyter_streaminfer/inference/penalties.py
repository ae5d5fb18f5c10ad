"""What a sequence's own tokens cost in its next draw: repetition, presence and frequency penalties."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import numpy as np
import torch

from jupyter_streaminfer.inference.sequence import Sampling, Sequence

FEWEST_SLOTS = 4
FEWEST_COLUMNS = 256


@dataclass(slots=True)
class _Place:
    """Where a sequence is counted; nowhere before its first draw."""

    slot: int = -1
    counted: int = 0
    """How many of its tokens are."""
    columns: dict[int, int] = field(default_factory=dict)
    """Where each of its tokens is counted: dense from 0, in the order of their first appearance."""


@dataclass(frozen=True, slots=True)
class PenaltyRows:
    """The ``P`` penalised sequences of a batch and their parameters; ``[P, 1]`` each, None where all are neutral."""

    sequences: list[Sequence]
    rows: torch.Tensor
    """Their rows in the batch."""
    slots: torch.Tensor
    repetition: torch.Tensor | None
    presence: torch.Tensor | None
    frequency: torch.Tensor | None


class Penalties:
    """How often each penalised sequence has each of its tokens, kept up to date token by token.

    A row of counts is as long as a sequence has different tokens, not as the vocabulary. A sequence gets its row, a
    slot, with its first draw and keeps it until it is removed, in the batch or not.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._places: dict[str, _Place] = {}
        self._free: list[int] = []
        self._ids = torch.zeros(0, FEWEST_COLUMNS, dtype=torch.int64, device=device)
        """``[slots, columns]``: the tokens that a sequence has."""
        self._counts = torch.zeros(0, FEWEST_COLUMNS, device=device)
        """How often its answer has them, float32; 0 for those of the prompt alone."""

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, job: str) -> bool:
        return job in self._places

    @property
    def bytes(self) -> int:
        """What the counts take."""
        return self._ids.nbytes + self._counts.nbytes

    def add(self, sequence: Sequence) -> None:
        """Make known a sequence, if it is penalised."""
        if _penalised(sequence.sampling):
            self._places[sequence.job] = _Place()

    def remove(self, job: str) -> None:
        """Free a sequence's slot if it has one; with the last one goes all the storage."""
        place = self._places.pop(job, None)
        if place is None or place.slot < 0:
            return
        self._free.append(place.slot)
        if len(self._free) == len(self._ids):
            self._free.clear()
            self._resize(0, FEWEST_COLUMNS)

    def rows(self, sequences: Seq[Sequence]) -> PenaltyRows | None:
        """The part of a batch that is penalised; None where nothing is."""
        rows = [row for row, sequence in enumerate(sequences) if _penalised(sequence.sampling)]
        if not rows:
            return None
        chosen = [sequences[row] for row in rows]
        samplings = [sequence.sampling for sequence in chosen]
        return PenaltyRows(
            chosen,
            self._column(rows),
            self._column([self._slot(sequence) for sequence in chosen]),
            self._unless_neutral([sampling.repetition_penalty for sampling in samplings], 1.0),
            self._unless_neutral([sampling.presence_penalty for sampling in samplings], 0.0),
            self._unless_neutral([sampling.frequency_penalty for sampling in samplings], 0.0),
        )

    def apply(self, logits: torch.Tensor, batch: PenaltyRows) -> None:
        """Penalise the batch's rows of ``logits`` ``[R, vocabulary]`` in place."""
        places = [self._places[sequence.job] for sequence in batch.sequences]
        self._count(batch.sequences, places)
        lengths = [len(place.columns) for place in places]
        # Shorter rows repeat their last token, which then gets the same value several times.
        columns = torch.arange(max(lengths), device=self._device).minimum(self._column(lengths) - 1)
        ids, counts = self._ids[batch.slots, columns], self._counts[batch.slots, columns]
        values = logits[batch.rows, ids]
        # Each operation is rounded on its own: a fused one would round differently in some places of a batch.
        if batch.repetition is not None:
            values = torch.where(values > 0, values / batch.repetition, values * batch.repetition)
        if batch.frequency is not None:
            values -= counts * batch.frequency
        if batch.presence is not None:
            values -= counts.clamp_max(1.0) * batch.presence
        logits[batch.rows, ids] = values

    def _count(self, sequences: Seq[Sequence], places: Seq[_Place]) -> None:
        """Count the tokens that came since; after a step that is one for each."""
        slots: list[int] = []
        columns: list[int] = []
        ids: list[int] = []
        for sequence, place in zip(sequences, places, strict=True):
            fresh = sequence.token_ids[place.counted :]
            place.counted += len(fresh)
            slots += [place.slot] * len(fresh)
            columns += [place.columns.setdefault(token, len(place.columns)) for token in fresh]
            ids += fresh
        if ids:
            self._reserve(max(columns) + 1)
            cells = torch.from_numpy(np.array([slots, columns, ids])).to(self._device)
            self._ids[cells[0], cells[1]] = cells[2]
            self._counts.index_put_((cells[0], cells[1]), self._counts.new_ones(()), accumulate=True)

    def _slot(self, sequence: Sequence) -> int:
        """The sequence's slot; a new one has its prompt's tokens, counted 0 times."""
        place = self._places[sequence.job]
        if place.slot < 0:
            prompt = list(dict.fromkeys(sequence.token_ids[: sequence.prompt_tokens]))
            if not self._free:
                slots = len(self._ids)
                self._resize(max(2 * slots, FEWEST_SLOTS), self._ids.shape[1])
                self._free += range(slots, len(self._ids))
            self._reserve(len(prompt))
            place.slot, place.counted = self._free.pop(), sequence.prompt_tokens
            place.columns = {token: column for column, token in enumerate(prompt)}
            self._counts[place.slot] = 0.0
            self._ids[place.slot, : len(prompt)] = torch.tensor(prompt, device=self._device)
        return place.slot

    def _reserve(self, columns: int) -> None:
        if columns > self._ids.shape[1]:
            self._resize(len(self._ids), max(columns, 2 * self._ids.shape[1]))

    def _resize(self, slots: int, columns: int) -> None:
        """Keep what fits."""
        ids, counts = self._ids[:slots], self._counts[:slots]
        self._ids, self._counts = ids.new_zeros(slots, columns), counts.new_zeros(slots, columns)
        if slots:
            self._ids[: len(ids), : ids.shape[1]] = ids
            self._counts[: len(counts), : counts.shape[1]] = counts

    def _column(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, device=self._device)[:, None]

    def _unless_neutral(self, values: list[float], neutral: float) -> torch.Tensor | None:
        if all(value == neutral for value in values):
            return None
        return torch.tensor(values, device=self._device)[:, None]


def _penalised(sampling: Sampling) -> bool:
    return sampling.repetition_penalty != 1.0 or sampling.presence_penalty != 0.0 or sampling.frequency_penalty != 0.0
