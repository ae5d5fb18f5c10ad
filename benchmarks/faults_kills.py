"""A worker that is killed all the time: every stream ends with its exact text or says clearly why not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from itertools import cycle, pairwise
from statistics import median

import psutil
from faults_bench import MODEL, Outcome, all_closed, ask, processes, until, workers
from faults_reader import Reader, generate, read_all
from live_server import Server
from models import VOCABULARY
from workload import Prompts

PROMPT_TOKENS = 16
PROMPTS = 64
RESTART_S = 60.0
"""How long the last worker may take to be there again."""


async def kills(
    server: Server,
    *,
    streams: int = 32,
    seconds: float = 120.0,
    every_s: float = 5.0,
    tokens: int = 256,
    prompts: int = PROMPTS,
) -> Outcome:
    """So many streams under way all the time, each that ends followed by another; the model is in a process."""
    draw = Prompts(VOCABULARY, "kills")
    requests = [generate(draw.draw(PROMPT_TOKENS), tokens) for _ in range(prompts)]
    references = await read_all(server, requests)
    before = len(processes(server))
    arrivals: list[float] = []
    began = time.monotonic()
    killing = asyncio.create_task(_kill(server, began + seconds, every_s))
    upcoming = cycle(range(prompts))

    async def one(place: int) -> list[tuple[int, Reader]]:
        found = []
        while time.monotonic() < began + seconds:
            index = next(upcoming)
            found.append((index, await Reader(server, f"kills-{place}", requests[index], arrivals.append).run()))
        return found

    found = [pair for pairs in await asyncio.gather(*map(one, range(streams))) for pair in pairs]
    killed, missed = await killing
    took = time.monotonic() - began
    readers = [reader for _, reader in found]
    accepted = [(index, reader) for index, reader in found if reader.stream]
    completed = [(index, reader) for index, reader in accepted if reader.ending == "completed"]

    async def ready() -> bool:
        state = (await ask(server, f"models/{MODEL}"))["state"]
        return bool(state in ("ready", "failed") and len(processes(server)) == before)

    outcome = Outcome(
        f"{streams} streams of {tokens} greedy tokens under way all the time (raw WebSocket, a connection each), the "
        f"model in a process that gets SIGKILL every {every_s:g} s for {seconds:g} s, whether it was ready or still "
        "loading; the references are the same requests before the first kill. A recovery is from a kill to the end "
        "of the longest time without any token until the next kill"
    )
    outcome.at_least("workers killed", 1, len(killed))
    outcome.equal("references that completed", prompts, sum(each.ending == "completed" for each in references))
    outcome.equal("accepted streams without a terminal event", 0, sum(each.terminal is None for _, each in accepted))
    exact = sum(reader.text == references[index].text for index, reader in completed)
    outcome.equal("completed streams whose text equals its reference", len(completed), exact)
    prefixes = sum(references[index].text.startswith(reader.text) for index, reader in accepted)
    outcome.equal("accepted streams whose text is at least a beginning of it", len(accepted), prefixes)
    outcome.equal("gaps, repeats and second ends", [], [fault for each in readers for fault in each.faults][:5])
    closed = await all_closed(server, RESTART_S)
    outcome.equal("all streams closed on the server afterwards", True, closed)
    with contextlib.suppress(TimeoutError):
        await until(ready, RESTART_S)
    outcome.equal("processes of the server's afterwards", before, len(processes(server)))
    zombies = sum(each.status() == psutil.STATUS_ZOMBIE for each in processes(server))
    outcome.equal("zombies among them", 0, zombies)
    outcome.equal("state of the model afterwards", "ready", (await ask(server, f"models/{MODEL}"))["state"])
    recoveries = _recoveries(killed, sorted(arrivals))
    outcome.figures = {
        "seconds": round(took, 1),
        "kills": len(killed),
        "times_there_was_no_worker_to_kill": missed,
        "streams_accepted": len(accepted),
        "streams_completed": len(completed),
        "endings": dict(Counter(reader.ending for reader in readers)),
        "restarts": (await ask(server, f"models/{MODEL}"))["restarts"],
        "tokens_per_second": round(sum(len(each.token_ids) for each in readers) / took, 1),
        "recovery_s": {
            "median": round(median(recoveries), 2) if recoveries else None,
            "worst": round(max(recoveries), 2) if recoveries else None,
            "recovered": len(recoveries),
        },
    }
    return outcome


async def _kill(server: Server, end: float, every_s: float) -> tuple[list[float], int]:
    """Kill the worker every so many seconds: when, and how often there was none."""
    killed, missed = [], 0
    due = time.monotonic() + every_s
    while due < end:
        await asyncio.sleep(due - time.monotonic())
        found = workers(server)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if found:
            killed.append(time.monotonic())
        else:
            missed += 1
        due += every_s
    return killed, missed


def _recoveries(killed: list[float], arrivals: list[float]) -> list[float]:
    """From each kill to the token that ended the silence after it; kills before whose end came the next are left out.

    What was on its way when the worker died still arrives after the kill, so the longest gap is looked for.
    """
    found = []
    for kill, following in pairwise([*killed, float("inf")]):
        times = [kill, *(at for at in arrivals if kill < at < following)]
        gaps = [(after - at, after) for at, after in pairwise(times)]
        if gaps:
            found.append(max(gaps)[1] - kill)
    return found
