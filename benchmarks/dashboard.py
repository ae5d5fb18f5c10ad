"""What an open dashboard costs the page that shows it, and the server that feeds it.

``python benchmarks/dashboard.py``: 200 streams of a tiny Llama are under way all the time, from another process, each
that ends followed by another. Measured in pairs of short windows: the server's tokens a second with nobody watching,
and with 1 and 20 watchers of all topics or a dashboard open in Chromium, whose frames a second and parts of one core
are measured afterwards, and what samples take of the server's event loop (`dashboard_cost`). The server has a core of
its own, as a browser is elsewhere or has one to spare: what is lost is what the page asks of the server. Then, without
any load, what 0, 1 and 20 watchers take of a core. Kept in ``results/dashboard.json``.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dashboard_cost
import dashboard_page
import live_server
import load
import models
from dashboard_watchers import Watchers
from figures import RESULTS, keep
from processes import cpu_seconds, two_cores
from workload import Prompts, Workload

STREAMS = 200
PROMPT_TOKENS = 16
NEW_TOKENS = 400
LEAST_TOKENS_A_SECOND = 5000
WATCHERS = (0, 1, 20)
KINDS = ("1", "20", "page")
"""What is compared with nobody watching: so many watchers, or the page."""
PAGE_S = 40.0
IDLE_S = 20.0
COST_S = 20.0
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


def turn(server: live_server.Server, kind: str, page: dashboard_page.OpenDashboard, seconds: float) -> dict[str, Any]:
    """One window with nobody watching, so many watchers, or the page."""
    if kind != "page":
        return watched(server, int(kind), seconds)
    with page.shown():
        return window(server, seconds)


def cost(
    server: live_server.Server, count: Path, page: dashboard_page.OpenDashboard, seconds: float
) -> dict[str, dict[str, float]]:
    """Parts of a core that the server's loop computes for samples: to make them, and to send them."""
    found = {}
    for kind in ("0", *KINDS):
        watchers = Watchers(server, int(kind)) if kind not in ("0", "page") else None
        with page.shown() if kind == "page" else nullcontext():
            time.sleep(2)
            (began, first) = (time.monotonic(), dashboard_cost.read(count))
            time.sleep(seconds)
            (passed, last) = (time.monotonic() - began, dashboard_cost.read(count))
        if watchers:
            watchers.close()
        found[kind] = {each: round((last[each] - first[each]) / passed, 5) for each in first}
    return found


def paired(
    server: live_server.Server, kind: str, page: dashboard_page.OpenDashboard, pairs: int, seconds: float
) -> list[dict[str, Any]]:
    """Windows without and with that, next to each other, either first by turns: what drifts falls out of a pair."""
    found = []
    for number in range(pairs):
        kinds = ["0", kind] if number % 2 else [kind, "0"]
        found.append({each: turn(server, each, page, seconds) for each in kinds})
    return found


def loaded(server: live_server.Server, count: Path, model: str, pairs: int, seconds: float) -> dict[str, Any]:
    """All pairs, and a minute of the page, under one load."""
    prompts = Prompts(models.VOCABULARY, "dashboard")
    total = 240 + len(KINDS) * pairs * 2 * (seconds + 5)
    most = models.CONTEXT - PROMPT_TOKENS
    closed = prompts.closed_loop(round(STREAMS_A_SECOND * total), STREAMS, PROMPT_TOKENS, NEW_TOKENS, most, total)
    workload = Workload(closed.requests, STREAMS, total)
    process = load.start(load.Job("websocket", server.url, server.token, model, workload, real_time=False))
    try:
        _begun(server)
        with dashboard_page.browser(server) as page:
            found: dict[str, Any] = {kind: paired(server, kind, page, pairs, seconds) for kind in KINDS}
            found["cost"] = cost(server, count, page, COST_S)
            with page.shown():
                found["browser"] = {**page.frames(PAGE_S / 2), **page.cores(PAGE_S / 2)}
        if process.poll() is not None:
            load.finish(process, 1)
            raise RuntimeError("the load ended before the measurement did")
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


def kept_rate(pairs: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Tokens a second over those with nobody watching: the mean of the pairs' ratios, and its 95 % interval."""
    logs = [math.log(pair[kind]["tokens_per_second"] / pair["0"]["tokens_per_second"]) for pair in pairs]
    mean, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    return {
        "ratio": round(math.exp(mean), 4),
        "interval": [round(math.exp(mean + side * 1.96 * error), 4) for side in (-1, 1)],
    }


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """What came of it, and which of the aims that meets."""
    rates = {kind: kept_rate(found[kind], kind) for kind in KINDS}
    tokens = statistics.median(pair["0"]["tokens_per_second"] for kind in KINDS for pair in found[kind])
    asked = {
        "at least 5,000 tokens/s": tokens >= LEAST_TOKENS_A_SECOND,
        "at least 30 frames/s": found["browser"]["frames_per_second"] >= 30,
        "under 25 % of one core in the browser": found["browser"]["browser"] < 0.25,
        # Its core is busy all the time: what samples take of it is what tokens lack.
        "less than 2 % of the server's core": sum(found["cost"]["page"].values()) < 0.02,
        "no loss of tokens/s seen": rates["page"]["interval"][1] >= 1,
    }
    return {
        "tokens_per_second": tokens,
        "over_no_watcher": rates,
        "loop_cores_for_samples": found["cost"],
        "browser": found["browser"],
        "holds": asked,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30, help="of windows, of each kind")
    parser.add_argument("--seconds", type=float, default=4, help="of each window")
    parser.add_argument("--model", choices=models.SHAPES, default="tiny")
    parser.add_argument("--placement", choices=["auto", "thread", "process"], default="auto", help="of the model")
    parser.add_argument("--name", default="dashboard", help="of the file of results")
    options = parser.parse_args()
    folder = models.folder(options.model, "float32")
    servers, others = two_cores()
    with ExitStack() as resources:
        if servers:
            os.sched_setaffinity(0, servers)
        file, count = dashboard_cost.configuration(Path(resources.enter_context(TemporaryDirectory())))
        server = resources.enter_context(live_server.running(*OPTIONS, f"--config={file}"))
        if others:
            os.sched_setaffinity(0, others)
        body = {"name": options.model, "path": str(folder), "placement": options.placement}
        server.request("POST", "streaminfer/api/models", body)
        found = loaded(server, count, options.model, options.pairs, options.seconds)
        quiet = idle(server, IDLE_S)
    about = {
        "model": options.model,
        "streams": STREAMS,
        "pinned": bool(servers),
        "pairs": options.pairs,
        "seconds": options.seconds,
        **judged(found),
    }
    windows = {kind: found[kind] for kind in KINDS}
    print(keep(options.name, {**about, "idle_server_cores": quiet, "windows": windows}, RESULTS))


if __name__ == "__main__":
    main()
