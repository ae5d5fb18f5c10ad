"""A client that sends a server a workload and notes when each token arrived.

A process of its own, at real-time priority where it may, so that it never waits for a core that the server
under test uses and its clock tells the truth. ``python benchmarks/load.py`` reads a `Job` as JSON and prints a
`Timeline`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from openai_door import OpenAIDoor
from timeline import Timeline
from websocket_door import WebSocketDoor
from workload import Pace, Request, Workload


class Door(Protocol):
    """A way into a server; what it tells of its requests goes to the callbacks that it was made with."""

    async def open(self) -> None:
        """Connect."""

    def start(self, index: int, request: Request) -> None:
        """Send a request, without waiting for anything."""

    def close(self) -> None:
        """Disconnect."""


Note = Callable[[int, list[int], float], object]
Ended = Callable[[int, str | None], None]
DOORS: dict[str, Callable[[str, str, str, Note, Ended], Door]] = {"websocket": WebSocketDoor, "openai": OpenAIDoor}


@dataclass(frozen=True)
class Job:
    """What is sent where."""

    door: Literal["websocket", "openai"]
    url: str
    """Of the server, for ``websocket``; of what ``v1/`` stands under, for ``openai``."""
    token: str
    model: str
    workload: Workload
    real_time: bool = True
    """Off when another client is the one that measures."""


def real_time() -> None:
    """Run before every ordinary process; needs the permission, does without it otherwise."""
    with suppress(PermissionError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def start(job: Job) -> subprocess.Popen[str]:
    """The client's process; its answer is on its standard output."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    with process.stdin:
        json.dump(asdict(job), process.stdin)
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str], seconds: float) -> Timeline:
    """What it saw. Raises `subprocess.TimeoutExpired` after that time, `RuntimeError` when a request failed."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    answer = json.loads(output) if output else {"error": f"the client ended with {process.returncode}"}
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return Timeline(**answer)


async def send(job: Job) -> Timeline:
    """Send the workload and read to its end; `RuntimeError` when a request does not end in order."""
    workload = job.workload
    timeline = Timeline.of_size(len(workload.requests))
    pace = Pace(workload)
    under_way: set[int] = set()
    failures: list[str] = []
    changed = asyncio.Event()

    def note(index: int, token_ids: list[int], at: float) -> None:
        timeline.note(index, token_ids, at - began)

    def ended(index: int, reason: str | None) -> None:
        under_way.discard(index)
        found, wanted = len(timeline.token_ids[index]), workload.requests[index].max_tokens
        if reason is None and found != wanted:
            reason = f"{found} tokens instead of {wanted}"
        if reason is not None:
            failures.append(f"request {index}: {reason}")
        changed.set()

    door = DOORS[job.door](job.url, job.token, job.model, note, ended)
    await door.open()
    waited, began = waited_s(), time.perf_counter()
    while not failures:
        now = time.perf_counter() - began
        for index in pace.start(now, len(under_way)):
            timeline.sent[index] = pace.since(index, now)
            under_way.add(index)
            door.start(index, workload.requests[index])
        if pace.done(now) and not under_way:
            break
        changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), pace.wait(now, len(under_way)))
    timeline.waited = waited_s() - waited
    door.close()
    if failures:
        raise RuntimeError("; ".join(failures[:3]))
    return timeline


def waited_s() -> float:
    """Seconds that this process was ready to run and had no core; 0 where that cannot be told."""
    with suppress(OSError):
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """That of uvloop where it is installed: of a server's cores the client is to take as little as it can."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def main() -> None:
    values = json.load(sys.stdin)
    job = Job(**(values | {"workload": Workload.of(values["workload"])}))
    if job.real_time:
        real_time()
    gc.freeze()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            answer = asdict(runner.run(send(job)))
    except (RuntimeError, OSError) as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
