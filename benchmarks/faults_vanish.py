"""A client that is gone without a word: when the batch has its place back."""

from __future__ import annotations

import asyncio
import contextlib
import time

from faults_bench import LOOK_S, FaultyProxy, Outcome, all_closed, ask, port, running, through, until
from faults_reader import generate
from faults_socket import RawSocket
from live_server import Server
from models import VOCABULARY
from workload import Prompts

PROMPT_TOKENS = 16
MARGIN_S = 0.25
"""For the step under way, the loop's timers and the look at it."""


def traits(heartbeat_s: float, grace_s: float) -> tuple[str, ...]:
    return (f"heartbeat_s={heartbeat_s:g}", f"grace_s={grace_s:g}")


async def vanish(
    server: Server, *, heartbeat_s: float = 1.0, grace_s: float = 2.0, streams: int = 16, tokens: int = 2000
) -> Outcome:
    """A client with so many streams, behind a proxy that stops passing anything on and closes nothing.

    ``tokens``: so many that the streams would go on for longer than they are given.
    """
    prompts = Prompts(VOCABULARY, "vanish")
    requests = [generate(prompts.draw(PROMPT_TOKENS), tokens) for _ in range(streams)]
    asked = grace_s + 2 * heartbeat_s
    with FaultyProxy(port(server)) as proxy:
        socket = await RawSocket.open(through(server, proxy), "vanishing")
        for index, request in enumerate(requests):
            socket.send({**request, "id": str(index)})
        reading = asyncio.create_task(_read(socket))

        async def all_run() -> bool:
            return await running(server) == streams

        async def none_runs() -> bool:
            return await running(server) == 0

        await until(all_run, 30.0)
        proxy.stall()
        stalled = time.monotonic()
        await until(none_runs, 10 * asked)
        free_s = time.monotonic() - stalled
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await reading
        socket.abort()
    closed = await all_closed(server, 10 * asked)
    found = (await ask(server, "streams"))["streams"][-streams:]
    states = sorted({stream["state"] for stream in found})
    outcome = Outcome(
        f"a raw WebSocket with {streams} streams behind a proxy that stops forwarding without closing; heartbeat "
        f"{heartbeat_s:g} s, grace {grace_s:g} s; the time from then on until no sequence has a place in the batch, "
        f"looked at every {LOOK_S * 1000:g} ms"
    )
    # A stream that came to its end by itself would prove nothing.
    outcome.equal("how the streams ended", ["cancelled"], states)
    outcome.equal("all streams closed on the server afterwards", True, closed)
    outcome.at_least("seconds that they went on", grace_s, free_s)
    outcome.at_most("seconds until the places are free (grace and two heartbeats)", asked + MARGIN_S, free_s)
    outcome.figures = {"seconds": round(free_s, 2), "tokens": sum(stream["tokens"] for stream in found)}
    return outcome


async def _read(socket: RawSocket) -> None:
    while True:
        await socket.receive()
