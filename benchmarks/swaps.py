"""Hot swaps under full load: 50 a minute, a tenth of them of broken models, and what became of every request.

``python benchmarks/swaps.py`` takes a little more than two minutes: closed-loop predictions over many connections to
a real server, and streams of a language model, while both models are swapped all the time. Each model's answers tell
which one gave them. Kept in ``results/swaps.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import live_server
import msgspec
from faults_bench import Outcome, Usage, ask, processes, until
from faults_socket import RawSocket
from figures import keep, summary
from live_server import Server

from jupyter_streaminfer.protocol import (
    TERMINAL,
    Attached,
    Completed,
    Delta,
    Error,
    Generate,
    Predict,
    Result,
    encode_inputs,
)

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from telling_models import NUMBERS, ROW, broken, telling
from tiny_models import build_llama

TELLER, WRITER = "teller", "writer"
ROWS = 3
"""Of one request: those of an answer must be of one model."""
BROKEN_EVERY, WRITER_EVERY = 10, 5
TOKENS = 128
LOST_S = 60.0
"""After how long a request counts as lost."""
SETTLE_S = 60.0
GROWTH_MIB = 48.0
"""What the server's process may have more after a hundred swaps: its allocator's and the logs of the streams."""


@dataclass
class Served:
    """What became of the requests, and when which version was the latest."""

    models: dict[str, dict[str, int]] = field(default_factory=lambda: {TELLER: {}, WRITER: {}})
    """Of each name's versions: which model it is."""
    since: dict[tuple[str, str], float] = field(default_factory=dict)
    until: dict[tuple[str, str], float] = field(default_factory=dict)
    """The longest time that a version can have been the latest."""
    latest: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[float, float, str, set[str]]] = field(default_factory=list)
    """From when to when, by which version, and what the rows said."""
    texts: list[tuple[float, float, str]] = field(default_factory=list)
    """Of streams: from when to when they were asked for and accepted, and what they said."""
    cut: list[str] = field(default_factory=list)
    """How streams ended that did not complete."""
    failed: list[str] = field(default_factory=list)
    lost: int = 0
    swaps: dict[str, list[float]] = field(default_factory=lambda: {TELLER: [], WRITER: []})
    """How long each took, in milliseconds."""
    refused: int = 0
    unexpected: list[str] = field(default_factory=list)
    """Swaps that failed and ought not to, or the other way round."""

    def swapped(self, name: str, version: str, model: int, began: float) -> None:
        now = time.monotonic()
        if (before := self.latest.get(name)) is not None:
            self.until[name, before] = now
            self.swaps[name].append((now - began) * 1000)
        self.models[name][version], self.latest[name], self.since[name, version] = model, version, began

    def was_latest(self, name: str, version: str, began: float, ended: float) -> bool:
        """Whether it can have been the latest version at some moment of a request's."""
        key = (name, version)
        return key in self.since and self.since[key] <= ended and began <= self.until.get(key, ended)

    def can_have_said(self, text: str, texts: list[str], began: float, accepted: float) -> bool:
        """Whether a stream's text is that of a language model that was the latest one as it was asked for."""
        return any(
            text == texts[model] and self.was_latest(WRITER, version, began, accepted)
            for version, model in self.models[WRITER].items()
        )


async def swap(server: Server, served: Served, name: str, folder: Path, model: int, placement: str) -> None:
    began = time.monotonic()
    body = {"path": str(folder), "placement": placement}
    status = await asyncio.to_thread(
        server.request, "POST", f"streaminfer/api/models/{name}/versions", body, seconds=LOST_S
    )
    served.swapped(name, status["version"], model, began)


async def swap_all_the_time(
    server: Server, served: Served, root: Path, placement: str, seconds: float, per_minute: float
) -> None:
    """Swap at the pace, or as fast as it goes where that is slower."""
    began, turn = time.monotonic(), 0
    while (due := began + turn * 60 / per_minute) < began + seconds:
        if time.monotonic() > began + seconds:
            return
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        turn += 1
        if turn % BROKEN_EVERY == 0:
            try:
                await swap(server, served, TELLER, root / "broken", -1, placement)
                served.unexpected.append("a broken model took over")
            except RuntimeError:
                served.refused += 1
            continue
        name = WRITER if turn % WRITER_EVERY == 1 else TELLER
        model = turn % 2 if name == WRITER else turn % NUMBERS
        try:
            await swap(server, served, name, root / name / str(model), model, placement)
        except RuntimeError as error:
            served.unexpected.append(str(error))


async def predictions(server: Server, served: Served, place: int, end: float) -> None:
    """One connection, which asks again as soon as it is answered."""
    connection = await RawSocket.open(server, f"predicts-{place}")
    inputs = encode_inputs([ROW] * ROWS)
    count = 0
    while (began := time.monotonic()) < end:
        count += 1
        connection.send(Predict(f"p{count}", TELLER, inputs))
        try:
            (answer,) = await asyncio.wait_for(connection.receive(), LOST_S)
        except (TimeoutError, ConnectionError):
            served.lost += 1
            return
        if isinstance(answer, Result):
            labels = {row["label"] for row in msgspec.json.decode(bytes(answer.outputs))}
            served.answers.append((began, time.monotonic(), answer.version, labels))
        else:
            served.failed.append(repr(answer))
    connection.abort()


def request() -> Generate:
    return Generate("g", WRITER, prompt="The quick", temperature=0, max_tokens=TOKENS, ignore_eos=True)


async def read(connection: RawSocket, served: Served) -> str | None:
    """Start a stream and read it: its text, or None where it did not complete."""
    began = accepted = time.monotonic()
    text = ""
    connection.send(request())
    while True:
        for message in await asyncio.wait_for(connection.receive(), LOST_S):
            if isinstance(message, Attached):
                accepted = time.monotonic()
            elif isinstance(message, Delta):
                text += message.text
            elif isinstance(message, Completed):
                served.texts.append((began, accepted, text))
                return text
            elif isinstance(message, (*TERMINAL, Error)):
                served.cut.append(repr(message))
                return None


async def streams(server: Server, served: Served, place: int, end: float) -> None:
    """One connection, which starts a stream as soon as the one before has ended."""
    connection = await RawSocket.open(server, f"reads-{place}")
    try:
        while time.monotonic() < end:
            await read(connection, served)
    except (TimeoutError, ConnectionError) as error:
        served.cut.append(repr(error))
    connection.abort()


async def reference(server: Server, folder: Path) -> str:
    """What a language model says, undisturbed."""
    body = {"name": WRITER, "path": str(folder), "placement": "thread"}
    await asyncio.to_thread(server.request, "POST", "streaminfer/api/models", body)
    connection = await RawSocket.open(server, "reference")
    text = await read(connection, Served())
    connection.abort()
    await asyncio.to_thread(server.request, "DELETE", f"streaminfer/api/models/{WRITER}")
    if text is None:
        raise RuntimeError(f"{folder} completes no stream")
    return text


async def loaded(server: Server) -> list[str]:
    """The versions that take memory."""
    return [each["version"] for each in (await ask(server, "models", "models")) if each["state"] not in FREE]


FREE = ("unloaded", "failed")


async def measure(server: Server, root: Path, options: argparse.Namespace) -> Outcome:
    for number in range(NUMBERS):
        telling(root / TELLER / str(number), number)
    for number in range(2):
        build_llama(root / WRITER / str(number), seed=number)
    broken(root / "broken")
    served = Served()
    texts = [await reference(server, root / WRITER / str(number)) for number in range(2)]
    for name in (TELLER, WRITER):
        await swap(server, served, name, root / name / "0", 0, options.placement)

    async def run(seconds: float, per_minute: float) -> float:
        began = time.monotonic()
        end = began + seconds
        await asyncio.gather(
            *(predictions(server, served, place, end) for place in range(options.connections)),
            *(streams(server, served, place, end) for place in range(options.streams)),
            swap_all_the_time(server, served, root, options.placement, seconds, per_minute),
        )
        return time.monotonic() - began

    # What is made once, such as threads' stacks and the allocator's heaps, is there before the first look.
    await run(options.warm_up, options.per_minute)
    served = Served(models=served.models, since=served.since, until=served.until, latest=served.latest)
    before, children = await settled(server)
    took = await run(options.seconds, options.per_minute)
    after, children_after = await settled(server)

    wrong = sum(labels != {str(served.models[TELLER].get(version))} for _, _, version, labels in served.answers)
    stale = sum(not served.was_latest(TELLER, version, *times) for *times, version, _ in served.answers)
    garbled = sum(not served.can_have_said(text, texts, *times) for *times, text in served.texts)
    swaps = sum(map(len, served.swaps.values()))
    outcome = Outcome(
        f"{options.connections} connections that predict {ROWS} rows in a closed loop and {options.streams} streams of "
        f"{TOKENS} greedy tokens one after the other, on a real server, for {options.seconds:g} s; their models, each "
        f"in a {options.placement}, are swapped by REST {options.per_minute:g} times a minute, every "
        f"{BROKEN_EVERY}th time for one with half a file of weights. Memory is the server process's before and after"
    )
    outcome.at_least(
        "swaps a minute, broken ones included", 0.95 * options.per_minute, (swaps + served.refused) * 60 / took
    )
    outcome.equal("swaps that went otherwise than they should", [], served.unexpected[:3])
    outcome.equal("predictions lost", 0, served.lost)
    outcome.equal("predictions failed", [], served.failed[:3])
    outcome.equal("predictions of another version than they say, or of two", 0, wrong)
    outcome.equal("predictions of a version that was not the latest at any moment of theirs", 0, stale)
    outcome.equal("streams that did not complete", [], served.cut[:3])
    outcome.equal("streams whose text is not all of a version that was the latest as they began", 0, garbled)
    outcome.equal("processes afterwards", children, children_after)
    outcome.at_most("threads afterwards", before.threads + 2, after.threads)
    outcome.at_most("growth of the server's memory, MiB", GROWTH_MIB, after.rss_mib - before.rss_mib)
    outcome.figures = {
        "seconds": round(took, 1),
        "swaps": swaps,
        "broken_refused": served.refused,
        "predictions": len(served.answers),
        "predictions_per_second": round(len(served.answers) / took, 1),
        "latency_ms": summary([(ended - began) * 1000 for began, ended, *_ in served.answers]),
        "streams": len(served.texts),
        "swap_ms": {name: summary(times) for name, times in served.swaps.items()},
        "rss_mib": {"before": before.rss_mib, "after": after.rss_mib},
        "threads": {"before": before.threads, "after": after.threads},
        "descriptors": {"before": before.descriptors, "after": after.descriptors},
    }
    return outcome


async def settled(server: Server) -> tuple[Usage, int]:
    """What the server takes once only the latest versions are loaded, and how many processes it has."""

    async def only_two() -> bool:
        return len(await loaded(server)) == 2

    await until(only_two, SETTLE_S)
    return Usage.of(server), len(processes(server))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--warm-up", type=float, default=15)
    parser.add_argument("--per-minute", type=float, default=50, help="swaps")
    parser.add_argument("--placement", choices=["thread", "process"], default="thread")
    parser.add_argument("--name", default="swaps", help="of the file of results")
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    root = Path(tempfile.mkdtemp(prefix="streaminfer-swaps-"))
    try:
        with live_server.running("--StreaminferApp.max_connections_per_client=1000") as server:
            outcome = asyncio.run(measure(server, root, options))
    finally:
        shutil.rmtree(root)
    print(keep(options.name, {"load_before": load, "placement": options.placement, **outcome.document()}))
    for check in outcome.failures():
        print(f"FAIL  {check.what}: {check.found} (asked: {check.asked})")
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main())
