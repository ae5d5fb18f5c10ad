"""Where the time of one step goes: the generator alone, in this process, without engine, server or client.

``python benchmarks/step_profile.py``: for each model, dtype and number of streams, the mean milliseconds of a
step that decodes all of them in each of its parts, by timers around them; then, in a run of its own because it
slows everything, the functions that cProfile finds dearest. Printed, and kept in ``results/step_profile.json``.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import models
from figures import RESULTS, keep
from workload import Prompts

from jupyter_streaminfer.inference import launcher
from jupyter_streaminfer.inference.emitter import Emitter
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.inference.sampler import Draws, Known, Sampler
from jupyter_streaminfer.inference.scheduler import Scheduler
from jupyter_streaminfer.protocol import DType, Generate, GenerateJob

REST = "events and the rest"


class Parts:
    """Timers around the parts of a step, while it is entered."""

    def __init__(self, runtime: Generator) -> None:
        model = runtime.model
        self.places: dict[str, list[tuple[Any, str]]] = {
            "schedule": [(Scheduler, "schedule"), (Scheduler, "advance"), (Scheduler, "settle"), (Scheduler, "remove")],
            "batch": [(launcher, "build_batch")],
            "forward": [(model, "hidden")],
            "head": [(model, "logits")],
            "sampling": [(Sampler, "sample"), (Draws, "read"), (Known, "read")],
            "detokenising": [(Emitter, "add"), (Emitter, "finish")],
        }
        self.wait = _waiter(model.device.type)
        self.spent = dict.fromkeys(self.places, 0.0)
        self.originals: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Parts:
        for part, places in self.places.items():
            for owner, name in places:
                self.originals.append((owner, name, vars(owner).get(name)))
                setattr(owner, name, self._timed(part, getattr(owner, name)))
        return self

    def __exit__(self, *error: object) -> None:
        for owner, name, original in self.originals:
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = call(*arguments, **named)
            self.wait()
            self.spent[part] += time.perf_counter() - began
            return result

        return timed


def _waiter(device: str) -> Callable[[], None]:
    """Until the device has done what it was told; on the CPU a call returns when it has."""
    if device != "cuda":
        return lambda: None
    import torch

    return torch.cuda.synchronize


def jobs(vocabulary: int, streams: int, prompt_tokens: int, new_tokens: int, seed: str) -> list[GenerateJob]:
    """Greedy streams that do not end early."""
    prompts = Prompts(vocabulary, seed)
    requests = [
        Generate(
            str(index),
            "",
            token_ids=prompts.draw(prompt_tokens),
            max_tokens=new_tokens,
            temperature=0.0,
            ignore_eos=True,
        )
        for index in range(streams)
    ]
    return [GenerateJob(request.id, request, 0) for request in requests]


def begin(runtime: Generator, streams: int, prompt_tokens: int, new_tokens: int, seed: str) -> None:
    """Submit the streams and compute their prompts."""
    for job in jobs(runtime.model.vocabulary, streams, prompt_tokens, new_tokens, seed):
        runtime.submit(job)
    while len(runtime.scheduler.running) < streams or any(each.pending > 1 for each in runtime.scheduler.running):
        runtime.step()


def decode(runtime: Generator, streams: int) -> int:
    """Compute until the first stream ends; returns the number of steps."""
    steps = 0
    while len(runtime.scheduler.running) == streams:
        runtime.step()
        steps += 1
    return steps


def finish(runtime: Generator) -> None:
    """Compute what is left."""
    while runtime.due_in() is not None:
        runtime.step()


def step_seconds(runtime: Generator, streams: int, options: argparse.Namespace) -> float:
    """The mean of the steps that decode all streams, with nothing around their parts."""
    begin(runtime, streams, options.prompt, options.tokens, "plain")
    began = time.perf_counter()
    steps = decode(runtime, streams)
    seconds = (time.perf_counter() - began) / steps
    finish(runtime)
    return seconds


def profile(runtime: Generator, streams: int, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of one decoding step, in all and in each part, and the dearest functions."""
    begin(runtime, streams, options.prompt, options.tokens, "warm-up")
    finish(runtime)
    plain = step_seconds(runtime, streams, options)
    with Parts(runtime) as parts:
        begin(runtime, streams, options.prompt, options.tokens, "timed")
        parts.spent = dict.fromkeys(parts.spent, 0.0)
        began = time.perf_counter()
        steps = decode(runtime, streams)
        timed = (time.perf_counter() - began) / steps
    finish(runtime)
    spent = {part: seconds / steps for part, seconds in parts.spent.items()}
    spent[REST] = timed - sum(spent.values())
    begin(runtime, streams, options.prompt, options.tokens, "profiled")
    profiler = cProfile.Profile()
    profiled_steps = profiler.runcall(decode, runtime, streams)
    finish(runtime)
    return {
        "step_ms": round(plain * 1000, 4),
        "timed_step_ms": round(timed * 1000, 4),
        "parts_ms": {part: round(seconds * 1000, 4) for part, seconds in spent.items()},
        "functions": dearest(profiler, profiled_steps, options.functions),
    }


def dearest(profiler: cProfile.Profile, steps: int, count: int) -> list[dict[str, Any]]:
    """The functions with the most time of their own: calls and microseconds a step."""
    entries = cast(
        "dict[tuple[str, int, str], tuple[int, int, float, float, Any]]", vars(pstats.Stats(profiler))["stats"]
    )
    ordered = sorted(entries.items(), key=lambda entry: -entry[1][2])[:count]
    return [
        {
            "function": f"{Path(file).name}:{line} {name}" if line else name,
            "calls": round(calls / steps, 1),
            "own_us": round(own / steps * 1e6, 1),
        }
        for (file, line, name), (_, calls, own, _, _) in ordered
    ]


def show(title: str, figures: dict[str, Any]) -> None:
    """Print one profile."""
    print(f"\n{title}: a step takes {figures['step_ms']:.3f} ms ({figures['timed_step_ms']:.3f} with timers)")
    for part, spent in figures["parts_ms"].items():
        print(f"  {part:<22}{spent:>9.3f} ms {spent / figures['timed_step_ms']:>7.1%}")
    for each in figures["functions"]:
        print(f"    {each['own_us']:>9.1f} us {each['calls']:>7.1f} calls  {each['function']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=models.SHAPES, default=["S", "M"])
    parser.add_argument("--dtypes", nargs="+", choices=models.STORED, default=["float32", "bfloat16"])
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=128, help="new tokens of a stream")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--functions", type=int, default=12, help="how many of the dearest functions are shown")
    parser.add_argument("--cache", type=Path, default=models.CACHE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--name", default="step_profile", help="of the file of results")
    options = parser.parse_args()
    profiles = []
    for model in options.models:
        for dtype in options.dtypes:
            folder = models.folder(model, models.STORED[dtype], options.cache)
            runtime = load_runtime(folder, dtype=cast("DType", dtype), threads=options.threads)
            assert isinstance(runtime, Generator)
            for streams in options.concurrency:
                figures = profile(runtime, streams, options)
                show(f"{model} {dtype}, {streams} streams, {runtime.info.runner}", figures)
                about = {"model": model, "dtype": dtype, "streams": streams, "runner": runtime.info.runner}
                profiles.append({**about, **figures})
    keep(options.name, {"threads": options.threads, "profiles": profiles}, options.results)


if __name__ == "__main__":
    main()
