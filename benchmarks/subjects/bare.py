"""The engine's own forward in a bare loop: no scheduler, sampler, tokenizer, server or client. The limit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from child import ChildSubject, serve
from subject import Setting

if TYPE_CHECKING:
    from jupyter_streaminfer.inference.sequence import Sequence
    from jupyter_streaminfer.protocol import DType

STEP_TOKENS = 1024
"""Prompt and new tokens of one step at most: the engine's own default."""


class Peer(ChildSubject):
    """On all cores, as the peers that compute in their own process."""

    dtypes = frozenset({"float32", "bfloat16", "int8"})
    distributions = ("jupyter_streaminfer", "torch", "numpy")


class Bare:
    """An `Engine` over a `CausalModel`: each place has its own blocks of the cache."""

    def __init__(self, setting: Setting) -> None:
        from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
        from jupyter_streaminfer.inference.load import load_runtime

        runtime: Any = load_runtime(
            Path(setting.folder),
            dtype=cast("DType", setting.dtype),
            max_batch_size=setting.streams,
            cache_bytes=setting.cache_bytes,
            threads=setting.threads,
        )
        self.model = runtime.model
        width = -(-setting.tokens // BLOCK_TOKENS)
        self.places = [list(range(place * width, (place + 1) * width)) for place in range(setting.streams)]
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []

    def add(self, index: int, token_ids: list[int], max_tokens: int) -> None:
        from jupyter_streaminfer.inference.sequence import Sequence

        self.waiting.append(Sequence(str(index), list(token_ids), max_tokens))

    def step(self) -> list[tuple[int, int, float]]:
        from jupyter_streaminfer.inference.batch import build_batch
        from jupyter_streaminfer.inference.scheduler import Chunk

        while self.places and self.waiting:
            sequence = self.waiting.pop(0)
            sequence.blocks = self.places.pop()
            self.running.append(sequence)
        budget, chunks = STEP_TOKENS, []
        for sequence in self.running:
            if count := min(sequence.pending, budget):
                chunks.append(Chunk(sequence, count))
                budget -= count
        complete = [chunk.sequence for chunk in chunks if chunk.completes]
        hidden = self.model.hidden(build_batch(chunks))
        tokens = self.model.logits(hidden).argmax(1).tolist() if complete else []
        at = time.perf_counter()
        for chunk in chunks:
            chunk.sequence.computed += chunk.count
        for sequence, token in zip(complete, tokens, strict=True):
            sequence.token_ids.append(token)
            if sequence.generated == sequence.max_tokens:
                self.places.append(sequence.blocks)
                self.running.remove(sequence)
        return [(int(sequence.job), token, at) for sequence, token in zip(complete, tokens, strict=True)]


if __name__ == "__main__":
    serve(Bare)
