"""Whose turn it is when several clients want the same places: start-time fair queueing (Goyal, Vin and Cheng, 1996).

A job starts, in virtual time, when it arrives or when its client's jobs before it are through, whichever is later, and
is through its cost after that. Whoever serves jobs by these tags, and by arrival where they are the same, gives clients
that always want something the same, but for one job of each; and who comes anew is next after what is served already,
however much others have waiting.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from jupyter_streaminfer.protocol import StreaminferError

MAX_IDLE_CLIENTS = 1024
"""Clients without a job of which it is kept how far they are ahead."""


@dataclass(slots=True)
class _Client:
    through: int
    """When its jobs that began are through."""
    jobs: int = 0
    """That did not leave, begun or not."""
    waiting: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Its jobs that did not begin, in the order of their arrival: when each starts and when it is through."""

    @property
    def end(self) -> int:
        """When all its jobs are through."""
        last = next(reversed(self.waiting.values()), (0, 0))
        return max(self.through, last[1])


class Fairness:
    """Gives jobs their start tags. Time is what the jobs cost, in any unit; it begins anew when there is no job."""

    def __init__(self) -> None:
        self._now = 0
        """The latest start of a job that began."""
        self._clients: dict[str, _Client] = {}
        """Those with jobs."""
        self._client_of: dict[str, str] = {}
        self._idle: OrderedDict[str, int] = OrderedDict()
        """When the jobs of clients without any were through; the longest idle first."""

    def __len__(self) -> int:
        """Jobs that did not leave."""
        return len(self._client_of)

    @property
    def clients(self) -> int:
        """Clients of which something is kept."""
        return len(self._clients) + len(self._idle)

    def enter(self, job: str, client: str, cost: int) -> int:
        """The start tag of a new job, which costs 1 at least; a client's tags ascend in the order of its jobs.

        `StreaminferError` where one with this id has not left.
        """
        if job in self._client_of:
            raise under_way(job)
        known = self._clients.get(client)
        if known is None:
            known = self._clients[client] = _Client(self._idle.pop(client, 0))
        start = max(self._now, known.end)
        known.waiting[job] = start, start + cost
        known.jobs += 1
        self._client_of[job] = client
        return start

    def begin(self, job: str) -> None:
        """Count a job as served, once: its cost is its client's even if it leaves early."""
        known = self._clients[self._client_of[job]]
        start, end = known.waiting.pop(job, (0, 0))
        known.through = max(known.through, end)
        self.advance(start)

    def advance(self, tag: int) -> None:
        """Let time go on to ``tag``: how far a job that began is served, where it is served in parts."""
        self._now = max(self._now, tag)

    def leave(self, job: str) -> None:
        """Forget a job. One that did not begin costs its client nothing, unless later ones of it wait already."""
        client = self._client_of.pop(job)
        known = self._clients[client]
        known.waiting.pop(job, None)
        known.jobs -= 1
        if known.jobs:
            return
        del self._clients[client]
        if not self._clients:
            self._idle.clear()
            self._now = 0
            return
        if known.through > self._now:
            self._idle[client] = known.through
        while self._idle and (len(self._idle) > MAX_IDLE_CLIENTS or next(iter(self._idle.values())) <= self._now):
            self._idle.popitem(last=False)


def under_way(job: str) -> StreaminferError:
    """The refusal of a job whose id another has that has not left."""
    return StreaminferError("invalid_request", f"{job!r} is under way already; give each job an id of its own")
