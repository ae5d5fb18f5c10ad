"""llama.cpp (PyPI ``llama-cpp-python`` and ``gguf``), in its own environment: ``llama_decode`` over a batch."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child import ChildSubject, serve
from subject import Pythons, Setting

STEP_TOKENS = 2048
"""Prompt and new tokens of one call at most; its own default for a batch."""


class Peer(ChildSubject):
    """Its defaults. int8 is its q8_0."""

    dtypes = frozenset({"float32", "bfloat16", "int8"})
    distributions = ("llama-cpp-python", "gguf", "numpy")

    def __init__(self, pythons: Pythons, log: Path) -> None:
        super().__init__(pythons, log)
        self.python = pythons.llama


@dataclass
class Sequence:
    """A request under way."""

    index: int
    place: int
    pending: list[int]
    """Tokens that are known and not computed yet."""
    position: int
    remaining: int


class LlamaCpp:
    """An `Engine`: every call computes a token of each answer under way and prompts in what room is left."""

    def __init__(self, setting: Setting, *, flash_attention: bool = True) -> None:
        import llama_cpp  # type: ignore[import-not-found]
        import numpy
        from gguf_file import gguf_file

        self.library: Any = llama_cpp
        self.numpy: Any = numpy
        self.quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        path = gguf_file(Path(setting.folder), setting.dtype)
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        settings = llama_cpp.llama_context_default_params()
        # A sequence's share is rounded up to a multiple of 256 positions.
        settings.n_ctx = setting.streams * -(-setting.tokens // 256) * 256
        settings.n_seq_max = setting.streams
        settings.n_batch = STEP_TOKENS
        settings.n_threads = settings.n_threads_batch = setting.threads
        if not flash_attention:
            settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = llama_cpp.llama_init_from_model(model, settings)
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(STEP_TOKENS, 0, 1)
        self.places = list(range(setting.streams))
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []

    def add(self, index: int, token_ids: list[int], max_tokens: int) -> None:
        self.waiting.append(Sequence(index, -1, list(token_ids), 0, max_tokens))

    def step(self) -> list[tuple[int, int, float]]:
        while self.places and self.waiting:
            sequence = self.waiting.pop(0)
            sequence.place = self.places.pop()
            self.running.append(sequence)
        complete = self._fill()
        if self.library.llama_decode(self.context, self.batch):
            raise RuntimeError("llama_decode failed")
        shape = (len(complete), self.vocabulary)
        logits = self.numpy.ctypeslib.as_array(self.library.llama_get_logits(self.context), shape)
        tokens = logits.argmax(1).tolist() if complete else []
        at = time.perf_counter()
        for sequence, token in zip(complete, tokens, strict=True):
            sequence.pending.append(token)
            sequence.remaining -= 1
            if not sequence.remaining:
                self.library.llama_memory_seq_rm(self.memory, sequence.place, -1, -1)
                self.places.append(sequence.place)
                self.running.remove(sequence)
        return [(sequence.index, token, at) for sequence, token in zip(complete, tokens, strict=True)]

    def _fill(self) -> list[Sequence]:
        """Lay out the next call; returns whose next token it brings, in the order of its logits."""
        batch, row = self.batch, 0
        complete = []
        for sequence in sorted(self.running, key=lambda each: len(each.pending) > 1):
            count = min(len(sequence.pending), STEP_TOKENS - row)
            for token in sequence.pending[:count]:
                batch.token[row] = token
                batch.pos[row] = sequence.position
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = sequence.place
                batch.logits[row] = False
                sequence.position += 1
                row += 1
            del sequence.pending[:count]
            if count and not sequence.pending:
                batch.logits[row - 1] = True
                complete.append(sequence)
        batch.n_tokens = row
        return complete


if __name__ == "__main__":
    serve(LlamaCpp)
