"""What long prompts cost: others' tokens while one is computed, and the next request that shares it.

``python benchmarks/prompts.py``: the generator alone, without a server. ITL of 31 streams of model S while prompts of
1,024 tokens keep arriving, against the same streams undisturbed; and the time to the first token of a prompt of 1,024
tokens, first and again. Kept in ``results/prompts.json``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from pathlib import Path

import models
from figures import keep, summary
from workload import Prompts

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.protocol import Generate, GenerateJob, Tokens

LONG = 1024


def submit(runtime: Generator, job: str, token_ids: list[int], new_tokens: int) -> None:
    request = Generate(job, "", token_ids=token_ids, max_tokens=new_tokens, temperature=0.0, ignore_eos=True)
    runtime.submit(GenerateJob(job, request, 0))


def gaps(runtime: Generator, prompts: Prompts, streams: int, new_tokens: int, every: int | None) -> list[float]:
    """Milliseconds between the tokens of each stream; ``every`` so many steps a long prompt arrives, if at all."""
    for index in range(streams):
        submit(runtime, f"s{index}", prompts.draw(64), new_tokens)
    arrivals: dict[str, list[float]] = {f"s{index}": [] for index in range(streams)}
    long = 0
    for step in itertools.count():
        if (
            every is not None
            and step % every == every - 1
            and not any(s.job[0] == "l" for s in runtime.scheduler.running)
        ):
            submit(runtime, f"l{long}", prompts.draw(LONG), 1)
            long += 1
        events = runtime.step()
        now = time.perf_counter() * 1000
        for event in events:
            if isinstance(event, Tokens) and event.job in arrivals:
                arrivals[event.job].append(now)
        if not any(sequence.job[0] == "s" for sequence in [*runtime.scheduler.running, *runtime.scheduler.waiting]):
            break
    while runtime.due_in() is not None:
        runtime.step()
    # Not the first tokens: the streams' own prompts are computed together, and nobody waits for a token yet.
    return [later - sooner for times in arrivals.values() for sooner, later in itertools.pairwise(times[8:])]


def first_token_ms(runtime: Generator, token_ids: list[int]) -> float:
    """From the submission of a prompt to its first token."""
    began = time.perf_counter()
    submit(runtime, "one", token_ids, 1)
    while runtime.due_in() is not None:
        runtime.step()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--cache", type=Path, default=models.CACHE)
    options = parser.parse_args()
    runtime = load_runtime(models.folder("S", "float32", options.cache), threads=options.threads)
    assert isinstance(runtime, Generator)
    runtime.warm_up()
    prompts = Prompts(runtime.model.vocabulary, "prompts")
    plain: list[float] = []
    disturbed: list[float] = []
    first: list[float] = []
    again: list[float] = []
    for _ in range(options.rounds):
        plain += gaps(runtime, prompts, 31, 192, None)
        disturbed += gaps(runtime, prompts, 31, 192, 24)
        shared = prompts.draw(LONG)
        first.append(first_token_ms(runtime, shared + prompts.draw(16)))
        again.append(first_token_ms(runtime, shared + prompts.draw(16)))
    undisturbed, together = summary(plain), summary(disturbed)
    shown = {
        "runner": runtime.info.runner,
        "threads": options.threads,
        "itl_ms_undisturbed": undisturbed,
        "itl_ms_beside_long_prompts": together,
        "p99_over_median": round(together["p99"] / together["p50"], 2),
        "p99_over_undisturbed_median": round(together["p99"] / undisturbed["p50"], 2),
        "first_token_ms": summary(first),
        "first_token_of_shared_prefix_ms": summary(again),
        "shorter_by": round(summary(first)["p50"] / summary(again)["p50"], 1),
    }
    print(keep("prompts", shown))


if __name__ == "__main__":
    main()
