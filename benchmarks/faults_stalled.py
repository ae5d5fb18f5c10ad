"""Consumers that stop reading: what they cost the server's memory, and the other streams' pace."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import suppress
from statistics import median

import load
from faults_bench import MODEL, Outcome, Usage, all_closed, ask, until
from faults_reader import generate
from faults_socket import RawSocket
from live_server import Server
from models import VOCABULARY
from workload import Prompts

PROMPT_TOKENS = 16
LOGPROBS = 5
"""They make an event some 400 bytes, so that a socket that nobody reads is full before the generation ends."""
CONSUMER_MIB = 2.0
"""What one may cost: the log of what fits into its socket and the window, a write of 256 KiB, the connection."""
SETTLE_S = 240.0
NEW_TOKENS = 64
REST_S = 2.0
"""Between the last step for them and the first look at the others."""
RATIO = 1.5
TRAITS = ("window_tokens=256", "grace_s=1", "stalled_s=3600", "heartbeat_s=3600")
"""Nobody is to be dropped while it is measured what they cost."""


async def stalled(
    server: Server,
    *,
    consumers: int = 100,
    tokens: int = 1000,
    neighbours: int = 8,
    seconds: float = 10.0,
    rounds: int = 3,
) -> Outcome:
    """``neighbours`` streams are measured without the consumers, while they fill up, and once they stand still."""
    draw = Prompts(VOCABULARY, "stalled")
    requests = [generate(draw.draw(PROMPT_TOKENS), tokens, logprobs=LOGPROBS) for _ in range(consumers)]
    _, reading = await asyncio.gather(_read_them(server, requests), _measure(server, neighbours, seconds, "reading"))
    alone = [await _measure(server, neighbours, seconds, f"before {number}") for number in range(rounds)]
    before = Usage.of(server)
    log_before = (await ask(server, "metrics"))["log_bytes"]
    sockets = []
    for index, request in enumerate(requests):
        socket = await RawSocket.open(server, f"stalled-{index}", small=True)
        socket.stop_reading()
        socket.send({**request, "id": "g"})
        sockets.append(socket)
    filling = await _measure(server, neighbours, seconds, "filling")
    await _stand_still(server)
    await asyncio.sleep(min(REST_S, seconds))
    beside = [await _measure(server, neighbours, seconds, f"beside {number}") for number in range(rounds)]
    after, metrics = Usage.of(server), await ask(server, "metrics")
    for socket in sockets:
        socket.abort()
    closed = await all_closed(server, SETTLE_S)
    alone += [await _measure(server, neighbours, seconds, f"after {number}") for number in range(rounds)]
    outcome = Outcome(
        f"{consumers} raw sockets with the least buffers ask for {tokens} tokens each (with {LOGPROBS} "
        "log-probabilities) and never read; the same requests were read to their end before, so that what the server "
        f"keeps for good is there already. ITL of {neighbours} other streams, by a client in a process of its own, "
        f"{rounds} rounds of {seconds:g} s each before, beside and after the consumers; the ratio is of the medians. "
        "The cost is the growth of the server's RSS, or the size of their logs where that is more"
    )
    growth, log = after.rss_mib - before.rss_mib, (metrics["log_bytes"] - log_before) / 2**20
    # Their logs may have taken room that the process had free: then its RSS does not tell all.
    cost = max(growth, log)
    outcome.at_most(f"MiB that they cost ({CONSUMER_MIB:g} each)", consumers * CONSUMER_MIB, cost)
    outcome.at_least("streams that wait for them", 1, metrics["streams_paused"])
    outcome.equal("all streams closed on the server afterwards", True, closed)
    p99 = {name: median(each["itl_p99_ms"] for each in found) for name, found in (("a", alone), ("b", beside))}
    outcome.at_most("ITL p99 beside them, over without", RATIO, p99["b"] / p99["a"])
    outcome.figures = {
        "rss_mib": {"before": before.rss_mib, "after": after.rss_mib},
        "descriptors": {"before": before.descriptors, "after": after.descriptors},
        "their_logs_mib": round(log, 2),
        "streams_paused": metrics["streams_paused"],
        "streams_open": metrics["streams_open"],
        "slow_consumers": metrics["slow_consumers"],
        "pauses": metrics["pauses"],
        "alone": alone,
        "beside": beside,
        "while_they_fill_up": filling,
        "while_as_many_read": reading,
    }
    return outcome


async def _measure(server: Server, streams: int, seconds: float, seed: str) -> dict[str, float]:
    """Tokens a second, TTFT and ITL of so many streams under way for that long."""
    count = max(streams, round(100 * seconds))
    burst = Prompts(VOCABULARY, seed).burst(count, streams, PROMPT_TOKENS, NEW_TOKENS)
    workload = load.Workload(burst.requests, streams, seconds)
    process = load.start(load.Job("websocket", server.url, server.token, MODEL, workload))
    return await asyncio.to_thread(_figures, process, seconds)


def _figures(process: subprocess.Popen[str], seconds: float) -> dict[str, float]:
    return load.finish(process, seconds + SETTLE_S).figures()


async def _read_them(server: Server, requests: list[dict]) -> None:  # type: ignore[type-arg]
    """The consumers as they should be."""

    async def read(index: int) -> None:
        socket = await RawSocket.open(server, f"reading-{index}")
        socket.send({**requests[index], "id": "g"})
        done = False
        while not done:
            done = any(hasattr(message, "usage") for message in await socket.receive())
        socket.abort()

    await asyncio.gather(*map(read, range(len(requests))))


async def _stand_still(server: Server) -> None:
    """Wait until each of the consumers' streams is paused or at its end, so that none computes any more."""

    async def still() -> bool:
        metrics = await ask(server, "metrics")
        return bool(metrics["streams_open"] == metrics["streams_paused"])

    with suppress(TimeoutError):
        await until(still, SETTLE_S)
