"""The fault bench: what cut connections, killed workers and bad company do to streams, memory and everyone else.

``python benchmarks/faults.py`` runs every scenario at sizes for a quarter of an hour, ``python benchmarks/faults.py
cuts kills`` these two, ``--full`` the endurance run at its full size. Each says which of the bounds below it
holds; kept in ``results/faults.json``. ``tests/faults`` has the short forms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import models
from faults_bench import Outcome, serving
from faults_cuts import cuts
from faults_endurance import TRAITS as ENDURANCE
from faults_endurance import endurance, engine_endurance
from faults_greedy import greedy
from faults_greedy import traits as limits
from faults_kills import kills
from faults_stalled import TRAITS as STALLED
from faults_stalled import stalled
from faults_vanish import traits as heartbeats
from faults_vanish import vanish
from figures import RESULTS, keep

RATE = 5.0
HEARTBEAT_S, GRACE_S = 1.0, 2.0
FULL_REQUESTS, FULL_CONNECTS = 1_000_000, 100_000


def run_cuts(options: argparse.Namespace) -> Outcome:
    with serving(_model(options)) as server:
        return asyncio.run(cuts(server))


def run_kills(options: argparse.Namespace) -> Outcome:
    with serving(_model(options), placement="process") as server:
        return asyncio.run(kills(server, seconds=options.seconds))


def run_stalled(options: argparse.Namespace) -> Outcome:
    with serving(_model(options), *STALLED) as server:
        return asyncio.run(stalled(server))


def run_greedy(options: argparse.Namespace) -> Outcome:
    with serving(_model(options), *limits(RATE)) as server:
        return asyncio.run(greedy(server, rate=RATE))


def run_vanish(options: argparse.Namespace) -> Outcome:
    with serving(_model(options), *heartbeats(HEARTBEAT_S, GRACE_S)) as server:
        return asyncio.run(vanish(server, heartbeat_s=HEARTBEAT_S, grace_s=GRACE_S))


def run_endurance(options: argparse.Namespace) -> Outcome:
    sizes: dict[str, Any] = {}
    if options.full:
        sizes = {"requests": FULL_REQUESTS, "connects": FULL_CONNECTS, "seconds": 60 * options.minutes}
    with serving(models.folder("tiny", "float32", options.cache), *ENDURANCE) as server:
        return asyncio.run(endurance(server, **sizes))


def run_engine(options: argparse.Namespace) -> Outcome:
    folder = models.folder("tiny", "float32", options.cache)
    return asyncio.run(engine_endurance(folder, requests=100_000 if options.full else 5_000))


SCENARIOS: dict[str, Callable[[argparse.Namespace], Outcome]] = {
    "cuts": run_cuts,
    "kills": run_kills,
    "stalled": run_stalled,
    "greedy": run_greedy,
    "vanish": run_vanish,
    "endurance": run_endurance,
    "engine": run_engine,
}


def _model(options: argparse.Namespace) -> Path:
    return models.folder("S", "float32", options.cache)


def show(name: str, outcome: Outcome) -> None:
    print(f"{name}: {'pass' if outcome.passed else 'FAIL'} ({outcome.how})", flush=True)
    for check in outcome.checks:
        print(f"  {'pass' if check.passed else 'FAIL'}  {check.what}: {check.found} (asked: {check.asked})")
    print("  " + json.dumps(outcome.figures), flush=True)


def earlier(name: str) -> dict[str, object]:
    """The scenarios that the file has already, so that each can be measured again by itself."""
    path = RESULTS / f"{name}.json"
    found: dict[str, object] = json.loads(path.read_text())["scenarios"] if path.exists() else {}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[[], *SCENARIOS], default=[], help="scenarios; all if none is named"
    )
    parser.add_argument("--seconds", type=float, default=120, help="how long workers are killed")
    parser.add_argument("--full", action="store_true", help="a million requests and 100,000 connections")
    parser.add_argument("--minutes", type=float, default=60, help="at most, for the requests and for the connections")
    parser.add_argument("--cache", type=Path, default=models.CACHE)
    parser.add_argument("--name", default="faults", help="of the file of results")
    options = parser.parse_args()
    if unknown := set(options.names) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    passed = True
    for name in options.names or SCENARIOS:
        # Of each, for the file may hold scenarios of several runs.
        about = {"measured": datetime.now(UTC).isoformat(timespec="minutes"), "load_before": os.getloadavg()[0]}
        outcome = SCENARIOS[name](options)
        show(name, outcome)
        passed &= outcome.passed
        keep(options.name, {"scenarios": {**earlier(options.name), name: about | outcome.document()}})
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
