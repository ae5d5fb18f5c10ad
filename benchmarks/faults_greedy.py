"""A greedy client beside a well-behaved one. ``python benchmarks/faults_greedy.py`` is the process of either."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import load
from faults_bench import Outcome, all_closed, ask
from faults_reader import generate
from faults_socket import RawSocket
from figures import summary
from live_server import Server
from models import VOCABULARY
from workload import Prompts

from jupyter_streaminfer.protocol import Attached, Completed, Delta, Error

PROMPT_TOKENS = 16
RATIO = 1.5
TIMES = 10
"""How many times its rate the greedy client asks for."""
SETTLE_S = 60.0


def traits(rate: float) -> tuple[str, ...]:
    """The limits that make ``rate`` requests a second a client's rate."""
    return (f"client_requests_per_s={rate:g}", f"client_requests_burst={max(1, round(rate))}")


async def greedy(
    server: Server, *, rate: float = 5.0, tokens: int = 32, seconds: float = 20.0, rounds: int = 4
) -> Outcome:
    """One client at ``rate`` requests a second, alone and beside one at ten times that, in interleaved rounds."""

    def start(client: str, times: int, seed: object) -> subprocess.Popen[str]:
        return _start(server, client, rate * times, tokens, seconds, f"{client} {seed}")

    await asyncio.to_thread(_finish, start("good", 1, "warm up"), seconds)
    alone, beside, flood = Seen(), Seen(), Seen()
    for number in range(rounds):
        for seen in (alone, beside) if number % 2 == 0 else (beside, alone):
            well_behaved = start("good", 1, number)
            greedy_one = start("greedy", TIMES, number) if seen is beside else None
            for process, into in ((well_behaved, seen), (greedy_one, flood)):
                if process is not None:
                    into.add(await asyncio.to_thread(_finish, process, seconds))
            await all_closed(server, SETTLE_S)
    metrics = await ask(server, "metrics")
    outcome = Outcome(
        f"one client sends {rate:g} requests of {tokens} tokens a second, evenly, alone and beside one that sends "
        f"{TIMES} times as many, which is {TIMES} times what one client may in the long run here; {rounds} interleaved "
        f"rounds of {seconds:g} s each, by clients in processes of their own; latency is from the sending to the end"
    )
    asked = rounds * round(rate * seconds)
    outcome.equal("the well-behaved client's requests that completed, alone", asked, len(alone.latency_ms))
    outcome.equal("the same beside the greedy one", asked, len(beside.latency_ms))
    outcome.equal("the greedy client's requests without an answer", 0, flood.endings["lost"])
    limited = flood.endings["rate_limited"]
    outcome.at_least("the greedy client's requests that were refused as rate_limited", 1, limited)
    without, beside_it = summary(alone.latency_ms), summary(beside.latency_ms)
    outcome.figures = {
        "latency_ms": {"alone": without, "beside": beside_it},
        "ttft_ms": {"alone": summary(alone.ttft_ms), "beside": summary(beside.ttft_ms)},
        "greedy_requests": dict(flood.endings),
        "refused": metrics["refused"],
    }
    outcome.at_most("p99 latency beside the greedy one, over alone", RATIO, beside_it["p99"] / without["p99"])
    return outcome


@dataclass
class Seen:
    """What one client saw."""

    latency_ms: list[float] = field(default_factory=list)
    """Of the requests that completed."""
    ttft_ms: list[float] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)

    def add(self, other: Seen) -> None:
        self.latency_ms += other.latency_ms
        self.ttft_ms += other.ttft_ms
        self.endings.update(other.endings)


async def _ask_steadily(server: Server, client: str, rate: float, tokens: int, seconds: float, seed: str) -> Seen:
    """Send a request every ``1 / rate`` seconds over one connection, whatever comes of the ones before."""
    prompts = Prompts(VOCABULARY, seed)
    requests = [generate(prompts.draw(PROMPT_TOKENS), tokens) for _ in range(round(rate * seconds))]
    socket = await RawSocket.open(server, client)
    seen = Seen()
    sent: dict[str, float] = {}
    streams: dict[str, str] = {}

    async def send() -> None:
        began = time.perf_counter()
        for index, request in enumerate(requests):
            await asyncio.sleep(began + index / rate - time.perf_counter())
            sent[str(index)] = time.perf_counter()
            socket.send({**request, "id": str(index)})

    async def receive() -> None:
        first: set[str] = set()
        while seen.endings.total() < len(requests):
            for message in await socket.receive():
                now = time.perf_counter()
                match message:
                    case Attached():
                        streams[message.stream] = message.id
                    case Delta() if message.stream not in first:
                        first.add(message.stream)
                        seen.ttft_ms.append((now - sent[streams[message.stream]]) * 1000)
                    case Completed():
                        seen.endings["completed"] += 1
                        seen.latency_ms.append((now - sent[streams[message.stream]]) * 1000)
                    case Error():
                        seen.endings[message.code] += 1
                    case _ if hasattr(message, "usage"):
                        seen.endings[type(message).__name__.lower()] += 1

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds + SETTLE_S):
            await asyncio.gather(send(), receive())
    seen.endings["lost"] = len(requests) - seen.endings.total()
    socket.abort()
    return seen


def _start(server: Server, client: str, rate: float, tokens: int, seconds: float, seed: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin:
        json.dump({"server": asdict(server), "job": [client, rate, tokens, seconds, seed]}, process.stdin)
    process.stdin = None
    # It says that it is there: what it takes to start is not to fall into the round.
    process.stdout.readline()
    return process


def _finish(process: subprocess.Popen[str], seconds: float) -> Seen:
    try:
        output, _ = process.communicate(timeout=seconds + 2 * SETTLE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    found = json.loads(output)
    return Seen(found["latency_ms"], found["ttft_ms"], Counter(found["endings"]))


def main() -> None:
    asked = json.load(sys.stdin)
    client, *job = asked["job"]
    if client == "good":
        load.real_time()
    print("ready", flush=True)
    seen = asyncio.run(_ask_steadily(Server(**asked["server"]), client, *job))
    json.dump({"latency_ms": seen.latency_ms, "ttft_ms": seen.ttft_ms, "endings": dict(seen.endings)}, sys.stdout)


if __name__ == "__main__":
    main()
