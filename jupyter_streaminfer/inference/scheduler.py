"""What each step computes: continuous batching by one rule, after vLLM.

There are no phases. Each sequence's computed tokens catch up with its tokens, within the step's token
budget: running sequences first, then waiting ones in order of arrival while a slot is free. Decoding is
a sequence that lags by one token; chunked prefill is one that lags by more than the budget leaves.
A slot holds a whole context, so a running sequence can never run out of place.
"""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.protocol import StreaminferError


@dataclass(frozen=True, slots=True)
class Chunk:
    """``count`` tokens of a sequence, from its ``computed`` on, to compute in this step."""

    sequence: Sequence
    count: int

    @property
    def completes(self) -> bool:
        """Whether nothing is pending after it, so that its last position gives the next token."""
        return self.count == self.sequence.pending


@dataclass(frozen=True, slots=True)
class Vacancy:
    """``slot`` lost its sequence, and that of the last slot, ``source``, took its place; the two may be one."""

    slot: int
    length: int
    """Positions of ``slot`` that hold the keys and values of the sequence that left."""
    source: int
    source_length: int


class Scheduler:
    """Sequences waiting and running, and the slots of the KV cache.

    The running sequences occupy exactly the slots ``0..len(running) - 1``: when one leaves, the one in the last
    slot moves into the gap, so that a batch is a slice of the cache and not a gather.
    """

    def __init__(self, slots: int, step_tokens: int, max_queue: int) -> None:
        # A smaller budget would let a full batch decode in turns only.
        self.step_tokens = max(step_tokens, slots)
        self.slots = slots
        self.max_queue = max_queue
        self.waiting: dict[str, Sequence] = {}
        self.running: dict[str, Sequence] = {}
        self.occupants: list[Sequence] = []

    def __len__(self) -> int:
        return len(self.waiting) + len(self.running)

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence; `StreaminferError` ``overloaded`` when ``max_queue`` wait that no free slot will take."""
        if len(self.waiting) >= self.max_queue + self.slots - len(self.running):
            raise StreaminferError(
                "overloaded",
                f"{len(self.waiting)} generations are waiting for a place already; try again later",
                retryable=True,
            )
        self.waiting[sequence.job] = sequence

    def schedule(self) -> list[Chunk]:
        """The chunks of the next step, oldest sequence first; empty when there is nothing to do."""
        budget = self.step_tokens
        chunks: list[Chunk] = []
        for sequence in self.running.values():
            if budget == 0:
                return chunks
            count = min(sequence.pending, budget)
            chunks.append(Chunk(sequence, count))
            budget -= count
        while budget and self.waiting and len(self.running) < self.slots:
            sequence = self.waiting.pop(next(iter(self.waiting)))
            sequence.slot = len(self.occupants)
            self.occupants.append(sequence)
            self.running[sequence.job] = sequence
            count = min(sequence.pending, budget)
            chunks.append(Chunk(sequence, count))
            budget -= count
        return chunks

    def remove(self, job: str) -> Vacancy | None:
        """Forget a sequence, waiting or running; what the cache must do about it. Unknown ids are ignored."""
        if self.waiting.pop(job, None) is not None or job not in self.running:
            return None
        sequence = self.running.pop(job)
        last = self.occupants.pop()
        source = len(self.occupants)
        slot = source if sequence.slot is None else sequence.slot
        if last is not sequence:
            last.slot = slot
            self.occupants[slot] = last
        sequence.slot = None
        return Vacancy(slot, sequence.computed, source, last.computed)
