"""What the fault bench's scenarios share: a server with a model, verdicts, and what its processes take."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import live_server
import psutil
from live_server import Server

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from faulty_proxy import FaultyProxy as FaultyProxy

MODEL = "measured"
LOOK_S = 0.02
WORKER = "jupyter_streaminfer.workers.child"
"""What the command line of a worker's process names."""


@dataclass(frozen=True)
class Check:
    """One bound, and what was found."""

    what: str
    asked: object
    found: object
    passed: bool
    noisy: bool = False
    """Whether it is about time or the whole process's memory, which short runs on a busy machine cannot tell."""


@dataclass
class Outcome:
    """What a scenario found."""

    how: str
    """How it was measured, with the sizes."""
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.failures()

    def failures(self, *, noisy: bool = True) -> list[Check]:
        """The checks that did not pass; without ``noisy`` only those that hold on any machine."""
        return [check for check in self.checks if not check.passed and (noisy or not check.noisy)]

    def equal(self, what: str, asked: object, found: object) -> None:
        """Check that something is exactly so."""
        self.checks.append(Check(what, asked, found, asked == found))

    def at_most(self, what: str, asked: float, found: float, *, noisy: bool = True) -> None:
        """Check that something is no more than that."""
        self.checks.append(Check(what, f"<= {round(asked, 3)}", round(found, 3), found <= asked, noisy))

    def at_least(self, what: str, asked: float, found: float) -> None:
        """Check that something is no less than that."""
        self.checks.append(Check(what, f">= {round(asked, 3)}", round(found, 3), found >= asked))

    def document(self) -> dict[str, object]:
        """For the results."""
        return {"passed": self.passed, **asdict(self)}


@contextlib.contextmanager
def serving(folder: Path, *traits: str, placement: str = "thread", log: Path | None = None) -> Iterator[Server]:
    """A server with the model of that folder; ``traits`` are the extension's, as ``name=value``."""
    options = [f"--StreaminferApp.{trait}" for trait in traits]
    with live_server.running(*options, log=log) as server:
        body = {"name": MODEL, "path": str(folder), "placement": placement}
        server.request("POST", "streaminfer/api/models", body)
        yield server


def port(server: Server) -> int:
    found = urlsplit(server.url).port
    assert found is not None
    return found


def through(server: Server, proxy: FaultyProxy) -> Server:
    """The server as it is reached through the proxy."""
    return Server(server.url.replace(f":{port(server)}/", f":{proxy.port}/"), server.token, server.pid)


async def ask(server: Server, path: str, field: str | None = None) -> Any:
    """What a REST address answers, or one field of it, without holding up this process's loop."""
    answer = await asyncio.to_thread(server.request, "GET", f"streaminfer/api/{path}")
    return answer if field is None else answer[field]


async def running(server: Server) -> int:
    """How many sequences have a place in the model's batch."""
    stats = (await ask(server, f"models/{MODEL}"))["stats"]
    return int(stats["running"]) if stats else 0


async def until(holds: Callable[[], Any], seconds: float) -> float:
    """Seconds until ``holds``, an async function, returns something true; `TimeoutError` after ``seconds``."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(LOOK_S)
    return time.monotonic() - began


async def all_closed(server: Server, seconds: float) -> bool:
    """Whether the server has no open stream any more, waiting at most that long."""

    async def closed() -> bool:
        return bool(await ask(server, "health", "streams") == 0)

    with contextlib.suppress(TimeoutError):
        await until(closed, seconds)
        return True
    return False


def processes(server: Server) -> list[psutil.Process]:
    """Those that the server started, and theirs."""
    return psutil.Process(server.pid).children(recursive=True)


def workers(server: Server) -> list[psutil.Process]:
    """Those of them that compute a model."""
    found = []
    for process in processes(server):
        with contextlib.suppress(psutil.NoSuchProcess):
            if WORKER in process.cmdline():
                found.append(process)
    return found


@dataclass(frozen=True)
class Usage:
    """What the server's own process takes."""

    rss_mib: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, server: Server) -> Usage:
        process = psutil.Process(server.pid)
        with process.oneshot():
            rss_mib = round(process.memory_info().rss / 2**20, 1)
            return cls(rss_mib, process.num_fds(), process.num_threads())
