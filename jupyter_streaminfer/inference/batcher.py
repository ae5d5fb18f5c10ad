"""The dynamic batcher: rows of many jobs, gathered until a batch is full or its oldest has waited long enough.

Pure Python and generic in its rows and outputs. A job larger than a batch is split over several and joined again.
Higher priorities go first; within one, clients are served in turn, part by part: `fairness.py` says how. Where rows
differ in length, they have buckets, and a batch holds rows of one bucket only, so that little of it is padding: it
begins with the job whose turn it is, and others of its bucket overtake those between. As the first in turn is always
taken, nobody is overtaken for ever.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Sequence as Seq
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from jupyter_streaminfer.inference.fairness import Fairness
from jupyter_streaminfer.inference.timetable import Timetable
from jupyter_streaminfer.protocol import StreaminferError


class Sliced(Protocol):
    """Rows, of which a slice is rows too."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Any: ...


Rows = TypeVar("Rows", bound=Sliced)
Output = TypeVar("Output")

WINDOW = 4
"""Jobs for each row of a batch that are looked through for rows of the same bucket."""


class Entry(Struct, Generic[Rows, Output], eq=False):
    """A job in the batcher."""

    job: str
    rows: Rows
    count: int
    """Of its rows."""
    arrived: float
    """On the batcher's clock, seconds."""
    rank: tuple[int, int, int]
    """What jobs are served by: priority, virtual time in `Fairness`, which counts rows, and number of arrival."""
    buckets: Seq[Any] | None
    """Of each row, ascending; None where all rows are alike."""
    taken: int = 0
    """Rows that a batch has taken already."""
    waiting: bool = True
    """Whether there are rows that no batch has taken, and it was not cancelled."""
    outputs: Seq[Output] = ()
    """Of the rows that are computed, where not all are."""


class Part(Struct, Generic[Rows]):
    """Rows of one job, beginning at its row ``start``, in one batch."""

    job: str
    start: int
    rows: Rows


_rank = attrgetter("rank")


class Batcher(Generic[Rows, Output]):
    """Jobs in turn; flushed at ``max_batch_size`` rows, or ``max_wait_ms`` after the oldest arrived."""

    def __init__(
        self, max_batch_size: int, max_wait_ms: float, max_queue: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_queue = max_queue
        self.clock = clock
        self.row_seconds = 0.0
        """What a row takes, where that is known: for the hint when to try again."""
        self.rows = 0
        """Rows that no batch has taken."""
        self.flushes = {"full": 0, "preferred": 0, "timed": 0}
        """Batches ever taken, by what made them due."""
        self.taken = 0
        """Rows ever taken."""
        self.expired = 0
        """Jobs that expired."""
        self._entries: dict[str, Entry[Rows, Output]] = {}
        """In order of arrival."""
        self._queue: list[Entry[Rows, Output]] = []
        """Those with rows that no batch has taken, by rank."""
        self._hurries: Timetable[Entry[Rows, Output]] = Timetable()
        """Those with a deadline, by when half of their time is over: they wait for company no longer."""
        self._deadlines: Timetable[Entry[Rows, Output]] = Timetable()
        self._fairness: defaultdict[int, Fairness] = defaultdict(Fairness)
        """Each priority has its own virtual time."""
        self._arrivals = 0
        self._preferred: list[int] = []
        self.configure(max_batch_size=max_batch_size, max_wait_ms=max_wait_ms)

    def configure(
        self,
        *,
        max_batch_size: int | None = None,
        max_wait_ms: float | None = None,
        preferred: Seq[int] | None = None,
    ) -> None:
        """Change what is given, from the next batch on.

        A queue that reaches a ``preferred`` size need not wait, and one that is larger is cut at the largest of them,
        or at ``max_batch_size``. Those above ``max_batch_size`` are as good as absent.
        """
        if max_batch_size is not None:
            self.max_batch_size = max_batch_size
        if max_wait_ms is not None:
            self.max_wait = max_wait_ms / 1000
        if preferred is not None:
            self._preferred = sorted({*preferred})
        self._sizes = [*(size for size in self._preferred if size < self.max_batch_size), self.max_batch_size]

    def __len__(self) -> int:
        """Jobs that are not complete."""
        return len(self._entries)

    @property
    def waiting(self) -> int:
        """Jobs with rows that no batch has taken."""
        return len(self._queue)

    def submit(
        self,
        job: str,
        rows: Rows,
        client: str = "",
        *,
        priority: int = 0,
        expires_in: float | None = None,
        buckets: Seq[Any] | None = None,
    ) -> None:
        """Queue a job of at least one row; `StreaminferError` ``overloaded`` beyond ``max_queue`` jobs.

        And ``invalid_request`` where one with this id is not complete. ``expires_in``: seconds after which its rows
        are not computed any more. ``buckets`` of its rows, ascending, where not all of the model's are alike.
        """
        if len(self._entries) >= self.max_queue:
            raise StreaminferError(
                "overloaded",
                f"{len(self._entries)} predictions are waiting already; try again later",
                retryable=True,
                retry_after_ms=max(1.0, self.rows * self.row_seconds * 1000),
            )
        count = len(rows)
        rank = -priority, self._fairness[-priority].enter(job, client, count), self._arrivals
        entry: Entry[Rows, Output] = Entry(job, rows, count, self.clock(), rank, buckets)
        self._entries[job] = entry
        self._arrivals += 1
        self._enqueue(entry)
        self.rows += count
        if expires_in is not None:
            self._hurries.add(entry.arrived + expires_in / 2, entry)
            self._deadlines.add(entry.arrived + expires_in, entry)

    def _enqueue(self, entry: Entry[Rows, Output]) -> None:
        queue = self._queue
        if not queue or queue[-1].rank < entry.rank:
            queue.append(entry)
        else:
            insort(queue, entry, key=_rank)

    def cancel(self, job: str) -> None:
        """Forget a job; unknown ids are ignored."""
        entry = self._entries.pop(job, None)
        if entry is None:
            return
        self._fairness[entry.rank[0]].leave(job)
        if entry.waiting:
            entry.waiting = False
            del self._queue[bisect_left(self._queue, entry.rank, key=_rank)]
            self.rows -= entry.count - entry.taken

    def expire(self) -> list[str]:
        """Forget the jobs whose time is over, and say which; none of them is complete."""
        expired: list[str] = []
        now = self.clock()
        while self._deadlines.first <= now:
            job = self._deadlines.pop().job
            self.cancel(job)
            expired.append(job)
        self.expired += len(expired)
        return expired

    def due_in(self) -> float | None:
        """Seconds until the next batch is to be taken, or something has expired; None while no row waits."""
        if not self.rows:
            return None
        if self.rows >= self._sizes[0]:
            return 0.0
        oldest = next(entry for entry in self._entries.values() if entry.waiting)
        # Half of a job's time is over before all of it is, so its deadline is never later than this.
        return max(0.0, min(oldest.arrived + self.max_wait, self._hurries.first) - self.clock())

    def take(self) -> list[Part[Rows]]:
        """The next batch, at most ``max_batch_size`` rows; empty while none is due."""
        parts: list[Part[Rows]] = []
        if self.due_in() != 0.0:
            return parts
        size = self._size()
        queue, room, place = self._queue, size, 0
        bucket: Any = None
        last = WINDOW * self.max_batch_size
        while room and place < len(queue) and place < last:
            entry = queue[place]
            begin, end = entry.taken, entry.count
            if (buckets := entry.buckets) is not None:
                if bucket is None:
                    bucket = buckets[begin]
                if buckets[begin] != bucket:
                    place += 1
                    continue
                end = bisect_right(buckets, bucket)
            if end > begin + room:
                end = begin + room
            del queue[place]
            room -= end - begin
            parts.append(self._part(entry, end))
        self.rows -= size - room
        self.taken += size - room
        return parts

    def _size(self) -> int:
        """How many rows the batch that is due may have; it is counted."""
        fitting = bisect_right(self._sizes, self.rows)
        if fitting == len(self._sizes):
            self.flushes["full"] += 1
        elif fitting:
            self.flushes["preferred"] += 1
        else:
            self.flushes["timed"] += 1
            return self.rows
        return self._sizes[fitting - 1]

    def _part(self, entry: Entry[Rows, Output], end: int) -> Part[Rows]:
        """The rows up to ``end`` of a job that is out of the queue; it goes back where there are more."""
        job, start, count = entry.job, entry.taken, entry.count
        priority, tag, arrival = entry.rank
        if start:
            self._fairness[priority].advance(tag)
        else:
            self._fairness[priority].begin(job)
        entry.taken = end
        if end < count:
            entry.rank = priority, tag + end - start, arrival
            self._enqueue(entry)
        else:
            entry.waiting = False
        return Part(job, start, entry.rows if end - start == count else entry.rows[start:end])

    def complete(self, job: str, outputs: Seq[Output]) -> Seq[Output] | None:
        """Add the outputs of a job's next rows; all of them, in order, once there is one for each row."""
        entry = self._entries[job]
        if entry.outputs or len(outputs) < entry.count:
            outputs = entry.outputs = [*entry.outputs, *outputs]
            if len(outputs) < entry.count:
                return None
        del self._entries[job]
        self._fairness[entry.rank[0]].leave(job)
        return outputs
