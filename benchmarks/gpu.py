"""How near a GPU comes to its own memory's bandwidth when it decodes: the generator alone, without server or client.

``python benchmarks/gpu.py``: first the bandwidth, by large copies; then whether greedy tokens in float32 are the CPU's;
then, for each model, prompt length and number of streams, tokens/s, the bytes that a step cannot do without (the
weights, and the keys and values of what it attends to) and the share of the bandwidth at which it reads them; and what
a step takes where the next is not launched before it has ended.
Printed, and kept in ``results/gpu.json``. Where there is no GPU it says so, measures nothing and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import models
import step_profile
import torch
from figures import RESULTS, keep

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.checkpoint import read_json
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.inference.torch_llama import TorchLlama
from jupyter_streaminfer.protocol import Tokens

# As large as Llama-3.2-1B: the other models fit into a large GPU's cache, which says nothing about its memory.
models.SHAPES["L"] = models.Shape(hidden=2048, layers=16, heads=32, kv_heads=8, intermediate=8192, tied=False)
COPIED = 2 * 2**30
"""Bytes of a copy: many times a GPU's cache."""
CACHE_BYTES = 8 * 2**30


def copy_bandwidth(times: int = 20) -> float:
    """Bytes a second of the median copy within the GPU's memory: what is read and what is written."""
    source = torch.empty(COPIED, dtype=torch.uint8, device="cuda").fill_(1)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(times + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return 2 * COPIED / median(seconds[3:])


def greedy(folder: Path, device: torch.device, streams: int, options: argparse.Namespace) -> dict[str, list[int]]:
    """The tokens of greedy streams that the torch forward computes on a device, in float32."""
    size = Architecture.read(read_json(folder / "config.json"))
    model = TorchLlama(folder, size, dtype="float32", device=device, reason=f"on {device.type}")
    runtime = Generator(
        model,
        Tokenizer(folder, model.vocabulary),
        cache_bytes=2**29,
        max_batch_size=streams,
        step_tokens=1024,
        max_queue=streams,
    )
    runtime.warm_up()
    tokens: dict[str, list[int]] = {}
    for job in step_profile.jobs(model.vocabulary, streams, options.prompt[0], 32, "same tokens"):
        runtime.submit(job)
    while runtime.due_in() is not None:
        for event in runtime.step():
            if isinstance(event, Tokens):
                tokens.setdefault(event.job, []).extend(event.token_ids)
    return tokens


def same_tokens(options: argparse.Namespace) -> float:
    """The share of 8 streams of model S that are the same on the GPU and on the CPU."""
    folder = models.folder("S", "float32", options.cache)
    one, other = (greedy(folder, torch.device(name), 8, options) for name in ("cuda", "cpu"))
    return sum(one[job] == other[job] for job in other) / len(other)


def needed_bytes(model: Any, streams: int, tokens: int) -> int:
    """What a step has to read that decodes so many streams, each of which has so many tokens."""
    # Of an embedding that is not the head as well, a few rows are read.
    looked_up = 0 if model.head is model.embedding else model.embedding.nbytes
    return int(model.weight_bytes - looked_up + streams * tokens * model.token_bytes)


@contextmanager
def each_step_waited_for(runtime: Generator) -> Iterator[None]:
    """Have the host know a step's tokens before it launches the next."""
    model = runtime.model
    drawn, model.drawn = model.drawn, None
    try:
        yield
    finally:
        model.drawn = drawn


def measure(name: str, dtype: str, bandwidth: float, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The cells of one model."""
    folder = models.folder(name, models.STORED[dtype], options.cache)
    runtime = load_runtime(folder, dtype=dtype, cache_bytes=CACHE_BYTES, max_batch_size=max(options.concurrency))  # type: ignore[arg-type]
    assert isinstance(runtime, Generator)
    runtime.warm_up()
    cells = []
    for prompt in options.prompt:
        for streams in options.concurrency:
            asked = argparse.Namespace(prompt=prompt, tokens=options.tokens, functions=0)
            figures = step_profile.profile(runtime, streams, asked)
            with each_step_waited_for(runtime):
                waited_ms = 1000 * step_profile.step_seconds(runtime, streams, asked)
            needed = needed_bytes(runtime.model, streams, prompt + options.tokens // 2)
            on_gpu_ms = figures["parts_ms"]["forward"] + figures["parts_ms"]["head"]
            cell = {
                "model": name,
                "dtype": dtype,
                "prompt": prompt,
                "streams": streams,
                "runner": runtime.info.runner,
                "tokens_per_s": round(streams / figures["step_ms"] * 1000, 1),
                "step_ms": figures["step_ms"],
                "waited_step_ms": round(waited_ms, 3),
                "needed_mb": round(needed / 1e6, 1),
                "of_bandwidth": round(needed / (figures["step_ms"] / 1000) / bandwidth, 4),
                "forward_and_head_of_bandwidth": round(needed / (on_gpu_ms / 1000) / bandwidth, 4),
                "parts_ms": figures["parts_ms"],
            }
            cells.append(cell)
            print(
                f"{name} {dtype}, prompts of {prompt}, {streams} streams: {cell['tokens_per_s']} tokens/s,"
                f" {cell['of_bandwidth']:.1%} of the bandwidth in a whole step,"
                f" {cell['forward_and_head_of_bandwidth']:.1%} in forward and head ({cell['runner']})",
                flush=True,
            )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=models.SHAPES, default=["M", "L"])
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["bfloat16"])
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--prompt", nargs="+", type=int, default=[64, 1024], help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=128, help="new tokens of a stream")
    parser.add_argument("--cache", type=Path, default=models.CACHE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--name", default="gpu", help="of the file of results")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(
            f"There is no GPU that torch {torch.__version__} can use: nothing was measured, and nothing is written."
        )
    bandwidth = copy_bandwidth()
    about = torch.cuda.get_device_properties(0)
    print(f"{about.name}: copies at {bandwidth / 1e12:.3f} TB/s, read and written", flush=True)
    same = same_tokens(options)
    print(f"S float32: {same:.0%} of 8 greedy streams are the CPU's", flush=True)
    cells = [
        cell for name in options.models for dtype in options.dtypes for cell in measure(name, dtype, bandwidth, options)
    ]
    gpu = {"name": about.name, "memory_gib": round(about.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    keep(
        options.name,
        {"gpu": gpu, "copy_bytes_per_s": round(bandwidth), "same_tokens": same, "cells": cells},
        options.results,
    )


if __name__ == "__main__":
    main()
