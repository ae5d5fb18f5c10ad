"""Token generation side by side: this engine in a Jupyter server, as a client sees it, and its peer.

``python benchmarks/generate.py``: rounds of both in turn, in one run, on the bundled ``demo`` model. The peer is
``transformers``' ``generate`` with a streamer, one request after another, which is what a notebook does today.
Both get the same random prompts (64 tokens), greedy, 128 new tokens, float32. Prints the figures and keeps
them in ``results/generate.json``; quote the ratio, the absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import live_server
from figures import keep, summary
from load import prompts

HERE = Path(__file__).parent


class Peer:
    """``transformers`` in a process of its own that waits between rounds."""

    def __init__(self, model: Path, streams: int, tokens: int) -> None:
        command = [sys.executable, str(HERE / "generate.py"), "--peer", str(model)]
        command += ["--streams", str(streams), "--tokens", str(tokens)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.round()

    def round(self) -> dict:
        """One round's figures."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)


def serve_peer(model: Path, streams: int, tokens: int) -> None:
    """The peer's process: a line in, a round, a line out."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.generation.streamers import BaseStreamer

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)

    class Stamps(BaseStreamer):
        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: torch.Tensor) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None:
            pass

    every = [torch.tensor([ids]) for ids in prompts(loaded.config.vocab_size, 64, streams)]
    for _ in sys.stdin:
        began = time.perf_counter()
        first, gaps, count = [], [], 0
        for ids in every:
            stamps = Stamps()
            out = loaded.generate(
                ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, streamer=stamps, use_cache=True
            )
            count += out.shape[1] - ids.shape[1]
            times = stamps.times[1:]
            first.append((times[0] - began) * 1000)
            gaps += [(b - a) * 1000 for a, b in itertools.pairwise(times)]
        took = time.perf_counter() - began
        figures = {"tokens_per_second": round(count / took, 1), "ttft_ms": summary(first), "itl_ms": summary(gaps)}
        print(json.dumps(figures), flush=True)


def ours(server: live_server.Server, streams: int, tokens: int) -> dict:
    """One round through the running server."""
    command = [sys.executable, str(HERE / "load.py"), server.url, server.token, "demo"]
    command += ["--streams", str(streams), "--tokens", str(tokens)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        serve_peer(options.peer, options.streams, options.tokens)
        return
    model = HERE.parent / "jupyter_streaminfer" / "models" / "demo"
    peer = Peer(model, options.streams, options.tokens)
    rounds = []
    with live_server.running() as server:
        server.request("POST", "streaminfer/api/models", {"name": "demo"})
        ours(server, options.streams, options.tokens)
        for _ in range(options.rounds):
            rounds.append({"ours": ours(server, options.streams, options.tokens), "transformers": peer.round()})
        one = ours(server, 1, options.tokens)
    peer.close()
    ratios = [each["ours"]["tokens_per_second"] / each["transformers"]["tokens_per_second"] for each in rounds]
    keep(
        "generate",
        {
            "model": "demo, float32",
            "streams": options.streams,
            "new_tokens": options.tokens,
            "ratio_tokens_per_second": {
                "median": round(statistics.median(ratios), 2),
                "each": [round(ratio, 2) for ratio in ratios],
            },
            "one_stream": one,
            "rounds": rounds,
        },
    )


if __name__ == "__main__":
    main()
