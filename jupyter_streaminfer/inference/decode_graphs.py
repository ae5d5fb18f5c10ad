"""Steps in which every sequence computes one token, over buffers that stay: captured once as CUDA graphs and replayed.

A GPU waits for the host where a small model's step is hundreds of launches; a replayed graph is one. On the CPU the
same code calls the forward over the same buffers, so that tests compare it there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from jupyter_streaminfer.inference.attention import StepTensors
from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.paged_attention import PagedAttention
from jupyter_streaminfer.inference.staging import Staging

log = logging.getLogger(__name__)

FIELDS = 5
"""Numbers of a row besides its table: token, position, place, length, and where the token stands that is not known."""

Forward = Callable[[StepTensors], torch.Tensor]
"""Computes a step: ``[rows, hidden_size]``."""


def graph_size(rows: int) -> int:
    """The rows that a step of ``rows`` is filled up to: 1, 2, 4, or a multiple of 8."""
    return 1 << (rows - 1).bit_length() if rows <= 8 else -(-rows // 8) * 8


def graph_sizes(rows: int) -> list[int]:
    """All sizes up to that of ``rows``, descending: the largest graph's memory then serves all others."""
    last = graph_size(rows)
    return [size for size in range(last, 0, -1) if graph_size(size) == size]


@dataclass(frozen=True, slots=True)
class Graph:
    """A step of one size: what it reads and where its result comes."""

    staging: Staging
    hidden: torch.Tensor
    captured: torch.cuda.CUDAGraph | None
    """None on a CPU."""


class DecodeGraphs:
    """Graphs of a model's steps of single tokens.

    The rows that a step is filled up with are dummies: they write their keys and values to blocks that no sequence
    has, and the kernels let them read nothing.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        paged: PagedAttention | None,
        drawn: torch.Tensor | None = None,
        columns: int,
        scratch: int,
    ) -> None:
        """``drawn``: see `CausalModel`; ``columns``: blocks of the longest sequence; ``scratch``: of dummies."""
        self._device = device
        self._paged = paged
        self._drawn = drawn
        self._columns = columns
        self._scratch = scratch
        self._graphs: dict[int, Graph] = {}
        self._staging: Staging | None = None
        self._pool: Any = None
        self._broken = False

    @property
    def sizes(self) -> list[int]:
        """The numbers of rows that are captured, ascending."""
        return sorted(self._graphs)

    def hidden(self, batch: Batch, forward: Forward) -> torch.Tensor | None:
        """Compute a step that asks for the hidden states of all its rows; None where it has to be computed otherwise.

        ``forward`` is always the same; it is not kept, so that a model and its memory go with their last user.
        Sizes that were not asked for yet are captured, with all below them: a warm-up with a full batch brings all.
        """
        rows = len(batch.token_ids)
        if self._broken or not rows or rows != len(batch.rows) - 1 or rows != len(batch.outputs):
            return None
        size = graph_size(rows)
        if size not in self._graphs:
            try:
                self._capture(rows, forward)
            except Exception:  # whatever a driver says: without graphs all is computed as well, only later
                log.exception("A decoding step cannot be captured as a CUDA graph; steps are launched one by one")
                self._broken = True
                self._graphs.clear()
                return None
        graph = self._graphs[size]
        self._send(batch, graph.staging, size)
        if graph.captured is None:
            graph.hidden.copy_(forward(self._step(graph.staging, size)))
        else:
            graph.captured.replay()
        return graph.hidden[:rows].clone()

    def _capture(self, rows: int, forward: Forward) -> None:
        """Capture what is missing of the sizes up to that of ``rows``."""
        sizes = graph_sizes(rows)
        numbers = sizes[0] * (FIELDS + self._columns)
        if self._staging is None or len(self._staging.target) < numbers:
            # Room for what comes next: what is captured already keeps the buffers that it reads.
            self._staging = Staging(2 * numbers, self._device)
        for size in sizes:
            if size not in self._graphs:
                self._send(None, self._staging, size)
                self._graphs[size] = self._captured(self._staging, size, forward)

    def _captured(self, staging: Staging, size: int, forward: Forward) -> Graph:
        # First for what is loaded and compiled at a first use, which no capture may do. Each time with a step of its
        # own: what a step works out once, like a mask, belongs into the graph.
        hidden = forward(self._step(staging, size))
        if self._device.type != "cuda":
            return Graph(staging, hidden, None)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads compute other models meanwhile, and may do as they like.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            hidden = forward(self._step(staging, size))
        self._pool = graph.pool()
        return Graph(staging, hidden, graph)

    def _step(self, staging: Staging, size: int) -> StepTensors:
        """The views of the buffer that a step of this size has; its tables are stored column by column."""
        numbers = staging.target
        token_ids, positions, places, lengths, sources = numbers[: FIELDS * size].view(FIELDS, size)
        tables = numbers[FIELDS * size : (FIELDS + self._columns) * size].view(self._columns, size).t()
        return StepTensors(
            token_ids,
            positions,
            places,
            tables,
            lengths=lengths,
            paged=self._paged,
            sources=sources,
            drawn=self._drawn,
        )

    def _send(self, batch: Batch | None, staging: Staging, size: int) -> None:
        """Fill the buffer of this size: with the batch's rows, as far as there are some, and then with dummies."""
        rows = 0 if batch is None else len(batch.token_ids)
        blocks = np.zeros(0, np.int32) if batch is None else -(-batch.lengths // BLOCK_TOKENS)
        # The kernels read no column beyond a row's length; torch's attention reads all, so none may be stale.
        columns = self._columns if self._paged is None else int(blocks.max(initial=1))
        numbers = np.zeros((FIELDS, size), np.int64)
        tables = np.full((columns, size), self._scratch, np.int64)
        numbers[4] = -1
        numbers[2, rows:] = self._scratch * BLOCK_TOKENS + np.arange(size - rows) % BLOCK_TOKENS
        if batch is not None:
            own = batch.tables[:, :columns]
            # Beyond its own blocks a table repeats its first: masked, but another's NaN there would survive the mask.
            tables[:, :rows] = own[:, 0]
            tables[: own.shape[1], :rows] = np.where(np.arange(own.shape[1]) < blocks[:, None], own, own[:, :1]).T
            last = own[np.arange(rows), batch.positions // BLOCK_TOKENS]
            numbers[0, :rows] = batch.token_ids
            numbers[1, :rows] = batch.positions
            numbers[2, :rows] = last * BLOCK_TOKENS + batch.positions % BLOCK_TOKENS
            numbers[3, :rows] = batch.lengths
            if batch.sources is not None:
                numbers[4, :rows] = batch.sources
        staging.send([numbers, tables])
