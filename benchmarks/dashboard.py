"""What an open dashboard costs the page that shows it, and the server that feeds it.

``python benchmarks/dashboard.py``: 200 streams of a tiny Llama are under way all the time, from another process, each
that ends followed by another. Measured by turns: the server's tokens a second with 0, 1 and 20 watchers of all
topics, and with a dashboard open in Chromium, whose frames a second and parts of one core are measured meanwhile.
Then, without any load, what 0, 1 and 20 watchers take of a core. Kept in ``results/dashboard.json``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from typing import Any

import dashboard_page
import live_server
import load
import models
from dashboard_watchers import Watchers
from figures import RESULTS, keep
from processes import cpu_seconds
from workload import Prompts, Workload

STREAMS = 200
PROMPT_TOKENS = 16
NEW_TOKENS = 400
LEAST_TOKENS_A_SECOND = 5000
WATCHERS = (0, 1, 20)
STREAMS_A_SECOND = 150
"""More than will be asked for: the load must not run dry."""
OPTIONS = ("--ServerApp.allow_origin=*", "--ServerApp.disable_check_xsrf=True")


def traffic(server: live_server.Server) -> tuple[float, int]:
    """When, and how many tokens there were until then."""
    metrics = server.request("GET", "streaminfer/api/metrics")
    return metrics["at"], metrics["traffic"]["tokens_out"]


def window(server: live_server.Server, seconds: float) -> dict[str, float]:
    """Tokens a second, and the server's cores, over that time."""
    (began, tokens), cpu = traffic(server), cpu_seconds(server.pid)
    time.sleep(seconds)
    (ended, more), cpu = traffic(server), cpu_seconds(server.pid) - cpu
    rate = (more - tokens) / (ended - began)
    return {"tokens_per_second": round(rate, 1), "server_cores": round(cpu / (ended - began), 3)}


def watched(server: live_server.Server, count: int, seconds: float) -> dict[str, Any]:
    """The same with so many watchers, and what each of them was sent a second."""
    if count == 0:
        return window(server, seconds)
    watchers = Watchers(server, count)
    began = time.monotonic()
    figures = window(server, seconds)
    passed = time.monotonic() - began
    counts = watchers.close()
    return {
        **figures,
        "samples_per_second_each": round(counts["samples"] / passed / count, 2),
        "kib_per_second_each": round(counts["bytes"] / passed / count / 1024, 1),
    }


def with_page(server: live_server.Server, seconds: float) -> dict[str, Any]:
    """With a dashboard in a browser: half of the time its frames are counted, half of it its cores are."""
    with dashboard_page.opened(server) as page:
        (began, tokens), cpu = traffic(server), cpu_seconds(server.pid)
        figures = {**page.frames(seconds / 2), **page.cores(seconds / 2)}
        (ended, more), cpu = traffic(server), cpu_seconds(server.pid) - cpu
    rate = (more - tokens) / (ended - began)
    return {**figures, "tokens_per_second": round(rate, 1), "server_cores": round(cpu / (ended - began), 3)}


def loaded(server: live_server.Server, model: str, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """The rounds, each with every number of watchers and with a page, by turns in another order."""
    prompts = Prompts(models.VOCABULARY, "dashboard")
    total = (rounds + 1) * (len(WATCHERS) + 1) * (seconds + 25)
    most = models.CONTEXT - PROMPT_TOKENS
    closed = prompts.closed_loop(round(STREAMS_A_SECOND * total), STREAMS, PROMPT_TOKENS, NEW_TOKENS, most, total)
    workload = Workload(closed.requests, STREAMS, total)
    process = load.start(load.Job("websocket", server.url, server.token, model, workload, real_time=False))
    try:
        _begun(server)
        found = []
        for number in range(rounds):
            turns: list[int | str] = [*WATCHERS, "page"]
            turns = turns[number % len(turns) :] + turns[: number % len(turns)]
            each = {}
            for turn in turns:
                each[str(turn)] = (
                    with_page(server, seconds) if isinstance(turn, str) else watched(server, turn, seconds)
                )
                if process.poll() is not None:
                    load.finish(process, 1)
                    raise RuntimeError("the load ended before the measurement did")
            found.append(each)
        return found
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _begun(server: live_server.Server) -> None:
    """Wait until the load is what it is to be, some seconds long."""
    until = time.monotonic() + 60
    while server.request("GET", "streaminfer/api/metrics")["streams_open"] < STREAMS:
        if time.monotonic() > until:
            raise RuntimeError("the streams did not begin")
        time.sleep(0.2)
    time.sleep(5)


def idle(server: live_server.Server, seconds: float) -> dict[str, Any]:
    """What watchers take of a core where nothing else is done, with the streams that are kept listed."""
    _quiet(server)
    found: dict[str, Any] = {str(count): watched(server, count, seconds)["server_cores"] for count in WATCHERS}
    most = WATCHERS[-1]
    found["each_further"] = round((found[str(most)] - found["1"]) / (most - 1), 5)
    return found


def _quiet(server: live_server.Server) -> None:
    until = time.monotonic() + 120
    while server.request("GET", "streaminfer/api/metrics")["pending"] and time.monotonic() < until:
        time.sleep(0.5)
    time.sleep(2)


def judged(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds; ratios are taken within one."""

    def median(turn: str, name: str) -> float:
        return round(statistics.median(each[turn][name] for each in rounds), 4)

    ratios = {
        turn: round(
            statistics.median(each[turn]["tokens_per_second"] / each["0"]["tokens_per_second"] for each in rounds), 4
        )
        for turn in (*map(str, WATCHERS[1:]), "page")
    }
    figures = {
        "tokens_per_second": median("0", "tokens_per_second"),
        "tokens_per_second_over_no_watcher": ratios,
        "frames_per_second": median("page", "frames_per_second"),
        "frame_p99_ms": median("page", "frame_p99_ms"),
        "page_thread_cores": median("page", "page_thread"),
        "browser_cores": median("page", "browser"),
    }
    asked = {
        "at least 5,000 tokens/s": figures["tokens_per_second"] >= LEAST_TOKENS_A_SECOND,
        "at least 30 frames/s": figures["frames_per_second"] >= 30,
        "under 25 % of one core in the browser": figures["browser_cores"] < 0.25,
        "less than 2 % of the tokens/s, one watcher": ratios["1"] > 0.98,
        "less than 2 % of the tokens/s, the page": ratios["page"] > 0.98,
    }
    return {**figures, "holds": asked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="of each turn of a round")
    parser.add_argument("--model", choices=models.SHAPES, default="tiny")
    parser.add_argument("--placement", choices=["auto", "thread", "process"], default="auto", help="of the model")
    parser.add_argument("--name", default="dashboard", help="of the file of results")
    options = parser.parse_args()
    folder = models.folder(options.model, "float32")
    with ExitStack() as resources:
        server = resources.enter_context(live_server.running(*OPTIONS))
        body = {"name": options.model, "path": str(folder), "placement": options.placement}
        server.request("POST", "streaminfer/api/models", body)
        rounds = loaded(server, options.model, options.rounds, options.seconds)
        quiet = idle(server, options.seconds)
    about = {"model": options.model, "streams": STREAMS, "seconds": options.seconds, **judged(rounds)}
    print(keep(options.name, {**about, "idle_server_cores": quiet, "rounds": rounds}, RESULTS))


if __name__ == "__main__":
    main()
