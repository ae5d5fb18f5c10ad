"""Very many short requests and connections: nothing is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from faults_bench import Outcome, Usage, all_closed, ask, until
from faults_reader import generate
from faults_socket import RawSocket
from live_server import Server
from models import VOCABULARY
from workload import Prompts

from jupyter_streaminfer.engine import Engine, EngineConfig
from jupyter_streaminfer.protocol import TERMINAL, Error, Generate, Result

DIGITS = "digits"
PROMPT_TOKENS = 4
CONNECTIONS = 4
IN_FLIGHT = 16
"""Requests under way on each of them."""
AT_ONCE = 8
"""Connections that are made at the same time."""
SOURCES = 64
"""Addresses that they come from, so that no pair of ports is needed again while the system still remembers it."""
WARM_UP = 10
"""One in so many is done before, so that pools and caches have their size."""
SAMPLES = 40
FLAT_MIB = 16.0
"""What memory may vary by and still count as flat."""
SETTLE_S = 60.0
KEPT = 200
TRAITS = (f"max_streams={KEPT}", "grace_s=1")
"""Few streams are kept, so that what is kept for good is there soon."""


async def endurance(
    server: Server, *, requests: int = 100_000, connects: int = 20_000, seconds: float = float("inf")
) -> Outcome:
    """So many requests, then so many connections, or as many as the time allows for each."""
    await asyncio.to_thread(server.request, "POST", "streaminfer/api/models", {"name": DIGITS})
    await _requests(server, max(4 * KEPT, requests // WARM_UP), seconds, lambda done: None)
    await _connects(server, max(4 * SOURCES, connects // WARM_UP), seconds, lambda done: None)
    before = await _settled(server, None)
    samples: list[tuple[int, float]] = []
    answered, sent, requests_s = await _requests(server, requests, seconds, _sampler(server, samples, requests))
    connected: list[tuple[int, float]] = []
    made, failed, connects_s = await _connects(server, connects, seconds, _sampler(server, connected, connects))
    after = await _settled(server, before)
    metrics = await ask(server, "metrics")
    outcome = Outcome(
        f"{sent} requests, every other one a prediction of one row, the others generations of one or two tokens, "
        f"{CONNECTIONS * IN_FLIGHT} under way; then {made} WebSockets opened and left in turn by a goodbye, FIN, RST, "
        "and RST in the midst of a generation. The server's process is looked at after "
        f"a tenth as much again and afterwards, its RSS {SAMPLES} times in between"
    )
    outcome.equal("requests that were answered", sent, answered.total())
    refused = {name: count for name, count in answered.items() if name not in ("result", "completed")}
    outcome.equal("requests that were refused or failed", {}, refused)
    outcome.equal("connections that were refused", {}, dict(failed))
    outcome.at_most(f"MiB that RSS grew (flat: {FLAT_MIB:g})", FLAT_MIB, after.rss_mib - before.rss_mib)
    outcome.at_most("descriptors afterwards", before.descriptors, after.descriptors, noisy=False)
    outcome.at_most("threads afterwards", before.threads, after.threads, noisy=False)
    left = {
        name: metrics[name] for name in ("connections", "streams_open", "active_clients", "pending", "queued_tokens")
    }
    outcome.equal("what the server says is left", dict.fromkeys(left, 0), left)
    outcome.figures = {
        "requests": sent,
        "requests_per_second": round(sent / requests_s, 1),
        "connects": made,
        "connects_per_second": round(made / connects_s, 1),
        "before": asdict(before),
        "after": asdict(after),
        "rss_mib_per_100_000_requests": _slope(samples),
        "rss_mib_per_10_000_connects": round(_slope(connected) / 10, 3),
        "rss_mib_samples": [rss for _, rss in samples + connected],
    }
    return outcome


async def engine_endurance(folder: Path, *, requests: int = 5_000, model: str = "measured") -> Outcome:
    """An engine in this process, where its tasks can be counted."""
    engine = Engine(EngineConfig(max_streams=KEPT))
    await engine.load(model, str(folder))
    prompts = Prompts(VOCABULARY, "engine")
    tasks = 0

    async def one(index: int) -> None:
        asked = {**generate(prompts.draw(PROMPT_TOKENS), 1 + index % 2), "id": str(index), "model": model}
        del asked["type"]
        stream = await engine.generate(Generate(**asked), f"client-{index % 7}")
        async with stream.cursor() as cursor:
            async for _ in cursor:
                pass

    async def several(indices: range) -> None:
        places = iter(indices)

        async def work() -> None:
            for index in places:
                await one(index)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    await several(range(4 * KEPT))
    tasks = len(asyncio.all_tasks())
    await several(range(requests))
    left = len(asyncio.all_tasks())
    metrics = engine.metrics()
    await engine.close()
    closed = len(asyncio.all_tasks())
    outcome = Outcome(f"{requests} generations of one or two tokens by an engine in this process, {IN_FLIGHT} at once")
    outcome.equal("tasks afterwards", tasks, left)
    outcome.equal("tasks once the engine is closed", 1, closed)
    found = [metrics.streams_open, metrics.pending, metrics.queued_tokens, metrics.active_clients]
    outcome.equal("open streams, pending requests, queued tokens and clients afterwards", [0, 0, 0, 0], found)
    outcome.at_most("streams kept", KEPT, metrics.streams_kept, noisy=False)
    return outcome


async def _requests(
    server: Server, count: int, seconds: float, progress: Callable[[int], object]
) -> tuple[Counter[str], int, float]:
    """Short requests over a few connections: how they were answered, how many were sent, and in what time."""
    row = [[float(value % 17) for value in range(64)]]
    prompts = Prompts(VOCABULARY, "endurance")
    answered: Counter[str] = Counter()
    numbers = itertools.count()
    began = time.monotonic()
    sent = 0

    def message(number: int) -> dict[str, Any]:
        if number % 2:
            return {"type": "predict", "id": str(number), "model": DIGITS, "inputs": row}
        return {**generate(prompts.draw(PROMPT_TOKENS), 1 + number // 2 % 2), "id": str(number)}

    async def work(name: str) -> None:
        nonlocal sent
        socket = await RawSocket.open(server, name)
        under_way = 0
        while True:
            while under_way < IN_FLIGHT and sent < count and time.monotonic() < began + seconds:
                socket.send(message(next(numbers)))
                sent += 1
                under_way += 1
            if not under_way:
                break
            for each in await socket.receive():
                if isinstance(each, (Result, Error, *TERMINAL)):
                    answered[each.code if isinstance(each, Error) else type(each).__name__.lower()] += 1
                    under_way -= 1
            progress(answered.total())
        socket.abort()

    await asyncio.gather(*(work(f"short-{number}") for number in range(CONNECTIONS)))
    return answered, sent, time.monotonic() - began


async def _connects(
    server: Server, count: int, seconds: float, progress: Callable[[int], object]
) -> tuple[int, Counter[str], float]:
    """Connections that come and go: how many, what kept others from it, and in what time."""
    prompt = list(range(PROMPT_TOKENS))
    failed: Counter[str] = Counter()
    numbers = itertools.count()
    began = time.monotonic()
    made = 0

    async def goodbye(socket: RawSocket) -> None:
        socket.say_goodbye()
        with contextlib.suppress(ConnectionError):
            await socket.receive()
        socket.abort()

    async def finish(socket: RawSocket) -> None:
        socket.abort()

    async def reset(socket: RawSocket) -> None:
        socket.abort(reset=True)

    async def in_the_midst(socket: RawSocket) -> None:
        socket.send({**generate(prompt, 8), "id": "g"})
        await socket.receive()
        socket.abort(reset=True)

    ways: list[Callable[[RawSocket], Awaitable[None]]] = [goodbye, finish, reset, in_the_midst]

    async def work() -> None:
        nonlocal made
        for number in numbers:
            if number >= count or time.monotonic() >= began + seconds:
                return
            try:
                socket = await RawSocket.open(server, f"brief-{number % 8}", source=f"127.0.1.{1 + number % SOURCES}")
                await ways[number % len(ways)](socket)
            except OSError as error:
                failed[f"{type(error).__name__}: {error}"[:200]] += 1
            made += 1
            progress(made)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return made, failed, time.monotonic() - began


def _sampler(server: Server, samples: list[tuple[int, float]], count: int) -> Callable[[int], None]:
    """Notes the server's RSS now and then, with how much was done by then."""
    every = max(1, count // (SAMPLES // 2))

    def note(done: int) -> None:
        if done >= len(samples) * every:
            samples.append((done, Usage.of(server).rss_mib))

    return note


def _slope(samples: list[tuple[int, float]]) -> float:
    """MiB in 100,000, by least squares over the later half, when all pools have their size."""
    if len(samples) < 4:
        return 0.0
    done, rss = zip(*samples[len(samples) // 2 :], strict=True)
    return round(float(np.polyfit(done, rss, 1)[0]) * 100_000, 3)


async def _settled(server: Server, before: Usage | None) -> Usage:
    """What the server takes once its connections and streams are gone: down to ``before``, given a little time."""
    await all_closed(server, SETTLE_S)

    async def calm() -> bool:
        health = await ask(server, "health")
        usage = Usage.of(server)
        return bool(health["connections"] == 0 and (before is None or usage.descriptors <= before.descriptors))

    with contextlib.suppress(TimeoutError):
        await until(calm, SETTLE_S / 4)
    return Usage.of(server)
