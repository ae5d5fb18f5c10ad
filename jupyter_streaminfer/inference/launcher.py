"""Has steps computed: what the device is told of one, and what it is then known to be under way with."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from msgspec import Struct

from jupyter_streaminfer.inference.batch import build_batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.model import CausalModel
from jupyter_streaminfer.inference.sampler import Draws, Known, Sampler
from jupyter_streaminfer.inference.scheduler import Chunk, Scheduler
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.inference.staging import upload


class Launched(Struct, frozen=True, gc=False):
    """A step that the device was told to compute, and whose tokens the host does not know yet."""

    began: float
    """By `time.monotonic`."""
    generations: list[Chunk]
    readings: list[tuple[Chunk, torch.Tensor]]
    """What is only read, with the hidden states that are wanted of it."""
    decoding: int
    """How many sequences had one token to compute when it was scheduled."""
    prefill_tokens: int
    """Tokens that are computed besides one of each of these."""
    completing: list[Sequence]
    """Those that get a token, in the order of the draws."""
    draws: Draws | Known | None
    """None where there are none of them."""


class Launcher:
    """Launches the steps of one model."""

    def __init__(self, model: CausalModel, scheduler: Scheduler, sampler: Sampler) -> None:
        self._model = model
        self._scheduler = scheduler
        self._sampler = sampler

    def may_go_ahead(self, step: Launched) -> bool:
        """Whether the next step can be launched without knowing what this one draws."""
        return self._model.drawn is not None and not any(self._sampler.counts(one.job) for one in step.completing)

    def launch(
        self, chunks: list[Chunk], decoding: int, generates: Callable[[str], bool], before_compute: Callable[[], object]
    ) -> Launched:
        """Have chunks computed, and a token drawn of each that catches up and whose job ``generates``.

        They count as computed from then on, and the tokens as there. If it raises, nothing has changed.
        """
        began = time.monotonic()
        if begun := _begun(chunks):
            self._model.clear(begun)
        batch = build_batch(chunks)
        before_compute()
        hidden = self._model.hidden(batch)
        own: list[Chunk] = []
        readings: list[tuple[Chunk, torch.Tensor]] = []
        completing: list[Sequence] = []
        rows: list[int] = []
        first = 0
        for chunk, count in zip(chunks, batch.counts, strict=True):
            last = first + count
            if generates(chunk.sequence.job):
                own.append(chunk)
                completing += [chunk.sequence] * count
                rows += range(first, last)
            else:
                readings.append((chunk, hidden[first:last]))
            first = last
        draws = self._draw(hidden, rows, completing) if rows else None
        for chunk in chunks:
            self._scheduler.advance(chunk)
        for row, sequence in enumerate(completing):
            sequence.unread += 1
            sequence.row = row
        prefill_tokens = len(batch.token_ids) - decoding
        return Launched(began, own, readings, decoding, prefill_tokens, completing, draws)

    def _draw(self, hidden: torch.Tensor, rows: list[int], sequences: list[Sequence]) -> Draws | Known:
        """The next tokens of sequences, from these rows; the next step finds them on the device."""
        if len(rows) < hidden.shape[0]:
            hidden = hidden[upload(np.array(rows), self._model.device)]
        draws = self._sampler.sample(self._model.logits(hidden), sequences)
        if self._model.drawn is not None:
            self._model.drawn[: len(rows)] = draws.tokens.clamp_min(0)
        return draws


def _begun(chunks: list[Chunk]) -> list[int]:
    """The blocks that a step is the first to write for their sequence; what is in them is another's."""
    return [block for chunk in chunks for block in chunk.sequence.blocks[-(-chunk.sequence.computed // BLOCK_TOKENS) :]]
