"""Predictions side by side: this engine behind its native WebSocket, and what one would write by hand instead.

``python benchmarks/predict.py --peers PYTHON`` measures everything; PYTHON is an interpreter that has tornado, fastapi,
uvicorn, uvloop, websockets, litserve, torch and msgspec. Every connection has one request of one row under way, for
``echo`` (gives the row back) and ``mlp`` (16-256-256-4). The servers share one core, the client has another; rounds of
all subjects are interleaved, those that wait are stopped, a round in which the client had to wait for its core is
taken again, and medians are stated. Quote the ratios: they are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from figures import RESULTS, keep, percentile
from predict_load import Load, Seen
from predict_subjects import OURS, PEER_DOORS, WIDTHS, Setting, Subject, create
from processes import resume, suspend, two_cores

TRIES = 3
"""How often a round is taken in which the client had to wait for its core, before it is kept as it is."""
WAITED = 0.02
"""The part of a round for which it may have."""

Document = dict[str, Any]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", metavar="PYTHON", help="the interpreter that has the peers; else only ours run")
    parser.add_argument("--subjects", nargs="+", choices=[*OURS, *PEER_DOORS])
    parser.add_argument("--models", nargs="+", choices=["echo", "mlp"], default=["echo", "mlp"])
    parser.add_argument("--connections", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-s", type=float, default=1.0, help="before each round is counted")
    parser.add_argument("--size", type=int, default=32, help="rows of a batch at most, for everybody")
    parser.add_argument("--wait-ms", type=float, default=2.0, help="what a row waits for company, for everybody")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--name", default="predict", help="of the file of results")
    return parser.parse_args()


def ask(load: Load) -> Seen:
    """One round, by a client of its own."""
    command = [sys.executable, str(Path(__file__).with_name("predict_load.py"))]
    limit = 120 + load.seconds + load.warm_s
    answer = subprocess.run(command, input=json.dumps(asdict(load)), stdout=-1, text=True, check=False, timeout=limit)
    return Seen(**json.loads(answer.stdout)) if answer.stdout else Seen(errors=1, error="the client failed")


class Cell:
    """One model and number of connections."""

    def __init__(self, setting: Setting, chosen: argparse.Namespace, client: list[int]) -> None:
        self.setting = setting
        self.chosen = chosen
        self.client = client
        self.subjects: dict[str, Subject] = {}
        self.failed: dict[str, str] = {}
        self.rounds: dict[str, list[Document]] = {}
        self.counted: dict[str, tuple[int, int]] = {}

    def measure(self, names: list[str]) -> Document:
        """Start everybody, take the rounds, and state medians and ratios."""
        try:
            for name in names:
                self._start(name)
            for index in range(self.chosen.rounds):
                order = list(self.subjects)
                for name in order[index % max(1, len(order)) :] + order[: index % max(1, len(order))]:
                    self.rounds.setdefault(name, []).append(self._round(name))
        finally:
            for subject in self.subjects.values():
                resume(subject.pid)
                subject.close()
        return self._document()

    def _start(self, name: str) -> None:
        subject = create(name, self.chosen.peers)
        try:
            subject.start(self.setting)
        except Exception as error:
            self.failed[name] = str(error)
            subject.close()
        else:
            suspend(subject.pid)
            self.subjects[name] = subject

    def _round(self, name: str) -> Document:
        subject = self.subjects[name]
        resume(subject.pid)
        try:
            for _ in range(TRIES):
                seen = ask(self._load(subject))
                if seen.waited <= WAITED * self.chosen.seconds:
                    break
            return self._figures(name, subject, seen)
        finally:
            suspend(subject.pid)

    def _load(self, subject: Subject) -> Load:
        chosen, setting = self.chosen, self.setting
        return Load(
            door=subject.door,
            url=subject.url,
            token=subject.token,
            model=setting.model,
            connections=setting.connections,
            seconds=chosen.seconds,
            warm_s=chosen.warm_s,
            width=WIDTHS[0],
            cores=self.client,
            pid=subject.pid,
            count=subject.counts,
        )

    def _figures(self, name: str, subject: Subject, seen: Seen) -> Document:
        batches, rows = subject.batches() or (seen.batches, seen.rows)
        batches_before, rows_before = self.counted.get(name, (0, 0))
        self.counted[name] = batches, rows
        figures: Document = {
            "requests_per_second": round(seen.answers / max(seen.seconds, 1e-9)),
            "p50_ms": round(percentile(seen.latencies_ms, 50), 2),
            "p99_ms": round(percentile(seen.latencies_ms, 99), 2),
            "batch": round((rows - rows_before) / max(1, batches - batches_before), 1),
            "cpu": round(seen.cpu_s / max(seen.seconds, 1e-9), 2),
            "cpu_us": round(1e6 * seen.cpu_s / max(seen.answers, 1), 1),
            "errors": seen.errors,
            "client_waited_s": round(seen.waited, 3),
        }
        return figures | ({"error": seen.error} if seen.error else {})

    def _document(self) -> Document:
        setting = self.setting
        subjects: Document = {name: {"error": error} for name, error in self.failed.items()}
        for name, rounds in self.rounds.items():
            keys = [key for key in rounds[0] if key != "error"]
            median = {key: round(statistics.median(each[key] for each in rounds), 2) for key in keys}
            subjects[name] = {"median": median, "rounds": rounds}
        ratios: Document = {}
        for name in filter(OURS.__contains__, self.rounds):
            for peer in filter(PEER_DOORS.__contains__, self.rounds):
                pairs = list(zip(self.rounds[name], self.rounds[peer], strict=True))
                ratios[f"{name} / {peer}"] = {
                    key: round(statistics.median(ours[key] / theirs[key] for ours, theirs in pairs), 2)
                    for key in ("requests_per_second", "p99_ms", "cpu_us")
                    if all(theirs[key] for _, theirs in pairs)
                }
        cell = {"model": setting.model, "connections": setting.connections}
        return {**cell, "subjects": subjects, "ratios": ratios}


def table(cells: list[Document]) -> str:
    """The medians and ratios, in Markdown."""
    columns = ("requests_per_second", "p50_ms", "p99_ms", "batch", "cpu", "cpu_us", "errors")
    lines = [f"| model | connections | subject | {' | '.join(columns)} |", "|---|---:|---|" + "---:|" * len(columns)]
    for cell in cells:
        for name, subject in cell["subjects"].items():
            values = [str(subject["median"][key]) if "median" in subject else "" for key in columns]
            shown = name if "median" in subject else f"{name} ({subject['error'][:80]})"
            lines.append(f"| {cell['model']} | {cell['connections']} | {shown} | {' | '.join(values)} |")
    for cell in cells:
        for name, ratio in cell["ratios"].items():
            shown = ", ".join(f"{value} of its {key}" for key, value in ratio.items())
            lines.append(f"{cell['model']} {cell['connections']}: {name}: {shown}")
    return "\n".join(lines)


def main() -> None:
    chosen = options()
    names = chosen.subjects or [*OURS, *(PEER_DOORS if chosen.peers else [])]
    servers, client = two_cores()
    if servers:
        os.sched_setaffinity(0, servers)
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for connections in chosen.connections:
            for model in chosen.models:
                setting = Setting(
                    model, chosen.size, chosen.wait_ms, connections, Path(folder), Path(folder) / "servers.log"
                )
                measured.append(Cell(setting, chosen, client).measure(names))
                print(table(measured[-1:]), flush=True)
                if measured[-1]["subjects"] and any("error" in each for each in measured[-1]["subjects"].values()):
                    print(setting.log.read_text()[-3000:], file=sys.stderr)
    figures = {"seconds": chosen.seconds, "size": chosen.size, "wait_ms": chosen.wait_ms, "cells": measured}
    keep(chosen.name, figures, chosen.results)


if __name__ == "__main__":
    main()
