"""The dynamic batcher: rows of many jobs, gathered until a batch is full or its oldest has waited long enough.

Pure Python and generic in its rows and outputs. A job larger than a batch is split over several and joined again.
Clients are served in turn, part by part: `fairness.py` says how.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jupyter_streaminfer.inference.fairness import Fairness
from jupyter_streaminfer.protocol import StreaminferError

Row = TypeVar("Row")
Output = TypeVar("Output")


@dataclass(slots=True, eq=False)
class Entry(Generic[Row, Output]):
    """A job in the batcher."""

    job: str
    rows: Seq[Row]
    arrived: float
    """On the batcher's clock, seconds."""
    outputs: list[Output]
    tag: int
    """Where it starts in the virtual time of `Fairness`, which counts rows."""
    arrival: int
    """Its number."""
    taken: int = 0
    """Rows that a batch has taken already."""

    @property
    def rank(self) -> tuple[int, int]:
        """What jobs are served by."""
        return self.tag + self.taken, self.arrival


@dataclass(frozen=True, slots=True)
class Part(Generic[Row]):
    """Rows of one job, beginning at its row ``start``, in one batch."""

    job: str
    start: int
    rows: Seq[Row]


class Batcher(Generic[Row, Output]):
    """Jobs in turn; flushed at ``max_batch_size`` rows, or ``max_wait_ms`` after the oldest arrived."""

    def __init__(
        self, max_batch_size: int, max_wait_ms: float, max_queue: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_batch_size = max_batch_size
        self.max_wait = max_wait_ms / 1000
        self.max_queue = max_queue
        self.clock = clock
        self._entries: dict[str, Entry[Row, Output]] = {}
        """In order of arrival."""
        self._queue: list[Entry[Row, Output]] = []
        """Those with rows that no batch has taken, by rank."""
        self._fairness = Fairness()
        self._arrivals = 0
        self._rows = 0
        """Rows that no batch has taken."""

    def __len__(self) -> int:
        """Jobs that are not complete."""
        return len(self._entries)

    def submit(self, job: str, rows: Seq[Row], client: str = "") -> None:
        """Queue a job of at least one row; `StreaminferError` ``overloaded`` beyond ``max_queue`` jobs.

        And ``invalid_request`` where one with this id is not complete.
        """
        if len(self._entries) >= self.max_queue:
            raise StreaminferError(
                "overloaded",
                f"{len(self._entries)} predictions are waiting already; try again later",
                retryable=True,
            )
        tag = self._fairness.enter(job, client, len(rows))
        entry = self._entries[job] = Entry(job, rows, self.clock(), [], tag, self._arrivals)
        self._arrivals += 1
        insort(self._queue, entry, key=_rank)
        self._rows += len(rows)

    def cancel(self, job: str) -> None:
        """Forget a job; unknown ids are ignored."""
        entry = self._entries.pop(job, None)
        if entry is None:
            return
        self._fairness.leave(job)
        if entry.taken < len(entry.rows):
            del self._queue[bisect_left(self._queue, entry.rank, key=_rank)]
            self._rows -= len(entry.rows) - entry.taken

    def due_in(self) -> float | None:
        """Seconds until the next batch is to be taken; None while no row waits."""
        if not self._rows:
            return None
        if self._rows >= self.max_batch_size:
            return 0.0
        oldest = next(entry for entry in self._entries.values() if entry.taken < len(entry.rows))
        return max(0.0, oldest.arrived + self.max_wait - self.clock())

    def take(self) -> list[Part[Row]]:
        """The next batch, at most ``max_batch_size`` rows; empty while none is due."""
        parts: list[Part[Row]] = []
        if self.due_in() != 0.0:
            return parts
        room = self.max_batch_size
        while room and self._queue:
            entry = self._queue.pop(0)
            rows = entry.rows[entry.taken : entry.taken + room]
            parts.append(Part(entry.job, entry.taken, rows))
            self._fairness.begin(entry.job)
            self._fairness.advance(entry.tag + entry.taken)
            entry.taken += len(rows)
            room -= len(rows)
            if entry.taken < len(entry.rows):
                insort(self._queue, entry, key=_rank)
        self._rows -= self.max_batch_size - room
        return parts

    def complete(self, job: str, outputs: Seq[Output]) -> list[Output] | None:
        """Add the outputs of a job's next rows; all of them, in order, once there is one for each row."""
        entry = self._entries[job]
        entry.outputs += outputs
        if len(entry.outputs) < len(entry.rows):
            return None
        del self._entries[job]
        self._fairness.leave(job)
        return entry.outputs


def _rank(entry: Entry[Any, Any]) -> tuple[int, int]:
    return entry.rank
