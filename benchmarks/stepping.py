"""The loop around an engine that computes in this process: no server and no client. Standard library only."""

from __future__ import annotations

import time
from typing import Protocol

from timeline import Timeline
from workload import Pace, Workload


class Engine(Protocol):
    """What generates greedily, for as many requests at once as it can; it never ends one early."""

    def add(self, index: int, token_ids: list[int], max_tokens: int) -> None:
        """Take a request on; its tokens come from the next steps."""

    def step(self) -> list[tuple[int, int, float]]:
        """Compute, and say which request got which token and when (`time.perf_counter`)."""


def drive(engine: Engine, workload: Workload) -> Timeline:
    """Do all that is asked."""
    pace = Pace(workload)
    timeline = Timeline.of_size(len(workload.requests))
    under_way: set[int] = set()
    began = time.perf_counter()
    while True:
        now = time.perf_counter() - began
        for index in pace.start(now, len(under_way)):
            request = workload.requests[index]
            timeline.sent[index] = pace.since(index, now)
            under_way.add(index)
            engine.add(index, request.token_ids, request.max_tokens)
        if under_way:
            for index, token, at in engine.step():
                if timeline.note(index, [token], at - began) == workload.requests[index].max_tokens:
                    under_way.remove(index)
        elif pace.done(now):
            return timeline
        else:
            time.sleep(pace.wait(now, 0) or 0.0)
