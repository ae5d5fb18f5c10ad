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


@dataclass(slots=True, eq=False)
class _Client:
    name: str
    through: int
    """When its jobs that began are through."""
    end: int
    """When all its jobs are through."""
    jobs: int = 0
    """That did not leave, begun or not."""
    waiting: dict[str, int] = field(default_factory=dict)
    """When those of its jobs are through that did not begin, in the order of their arrival."""


class Fairness:
    """Gives jobs their start tags. Time is what the jobs cost, in any unit; it begins anew when there is no job."""

    def __init__(self) -> None:
        self._now = 0
        """The latest start of a job that began."""
        self._clients: dict[str, _Client] = {}
        """Those with jobs."""
        self._jobs: dict[str, tuple[_Client, int]] = {}
        """Whose each is, and its start tag."""
        self._idle: OrderedDict[str, int] = OrderedDict()
        """When the jobs of clients without any were through; the longest idle first."""

    def __len__(self) -> int:
        """Jobs that did not leave."""
        return len(self._jobs)

    @property
    def clients(self) -> int:
        """Clients of which something is kept."""
        return len(self._clients) + len(self._idle)

    def enter(self, job: str, client: str, cost: int) -> int:
        """The start tag of a new job, which costs 1 at least; a client's tags ascend in the order of its jobs.

        `StreaminferError` where one with this id has not left.
        """
        if job in self._jobs:
            raise under_way(job)
        known = self._clients.get(client)
        if known is None:
            through = self._idle.pop(client, 0)
            known = self._clients[client] = _Client(client, through, through)
        start = known.end if known.end > self._now else self._now
        known.end = known.waiting[job] = start + cost
        known.jobs += 1
        self._jobs[job] = known, start
        return start

    def begin(self, job: str) -> None:
        """Count a job as served, once: its cost is its client's even if it leaves early."""
        client, start = self._jobs[job]
        end = client.waiting.pop(job, 0)  # never 0 of one that waits
        if end > client.through:
            client.through = end
        if start > self._now:
            self._now = start

    def advance(self, tag: int) -> None:
        """Let time go on to ``tag``: how far a job that began is served, where it is served in parts."""
        if tag > self._now:
            self._now = tag

    def leave(self, job: str) -> None:
        """Forget a job. One that did not begin costs its client nothing, unless later ones of it wait already."""
        known, _ = self._jobs.pop(job)
        if job in known.waiting:
            del known.waiting[job]
            last = next(reversed(known.waiting.values()), 0)
            known.end = max(known.through, last)
        known.jobs -= 1
        if known.jobs:
            return
        del self._clients[known.name]
        if not self._clients:
            self._idle.clear()
            self._now = 0
            return
        if known.through > self._now:
            self._idle[known.name] = known.through
        while self._idle and (len(self._idle) > MAX_IDLE_CLIENTS or next(iter(self._idle.values())) <= self._now):
            self._idle.popitem(last=False)


def under_way(job: str) -> StreaminferError:
    """The refusal of a job whose id another has that has not left."""
    return StreaminferError("invalid_request", f"{job!r} is under way already; give each job an id of its own")
