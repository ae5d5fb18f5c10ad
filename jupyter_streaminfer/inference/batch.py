"""The arrays of one step, made from the scheduler's chunks."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from jupyter_streaminfer.inference.scheduler import Chunk

Int32 = npt.NDArray[np.int32]


class Batch(Struct, frozen=True, gc=False):
    """``N`` tokens of ``S`` chunks in a row, each chunk the next tokens of one sequence; all arrays are contiguous."""

    token_ids: Int32
    """``[N]``."""
    positions: Int32
    """``[N]``, within each sequence: a chunk's are consecutive."""
    rows: Int32
    """``[S + 1]``: chunk ``s`` has the rows ``rows[s]`` to ``rows[s + 1] - 1``."""
    tables: Int32
    """``[S, W]``: the blocks of each chunk's sequence, enough for its last position; 0 beyond those."""
    outputs: Int32
    """``[R]``: the rows whose hidden states are wanted, ascending."""
    counts: list[int]
    """``[S]``: how many of them each chunk has."""
    sources: Int32 | None = None
    """``[N]``: where `CausalModel.drawn` has a token that the host does not know, -1 elsewhere; None: all are known."""

    @property
    def lengths(self) -> Int32:
        """``[S]``: positions of each sequence that are in the cache once the step is computed."""
        return self.positions[self.rows[1:] - 1] + 1


def build_batch(chunks: Seq[Chunk]) -> Batch:
    """Lay out a step's chunks."""
    token_ids: list[int] = []
    positions: list[int] = []
    rows = [0]
    unknown: list[tuple[int, int]] = []
    outputs: list[int] = []
    counts: list[int] = []
    for chunk in chunks:
        sequence, start = chunk.sequence, chunk.sequence.computed
        if start == len(sequence.token_ids):
            unknown.append((len(token_ids), sequence.row))
            token_ids.append(0)
            positions.append(start)
        elif chunk.count == 1:
            token_ids.append(sequence.token_ids[start])
            positions.append(start)
        else:
            token_ids += sequence.token_ids[start : start + chunk.count]
            positions += range(start, start + chunk.count)
        end = len(token_ids)
        rows.append(end)
        counts.append(wanted := chunk.outputs)
        outputs += range(end - wanted, end)
    width = max((len(chunk.sequence.blocks) for chunk in chunks), default=0)
    tables: list[int] = []
    for chunk in chunks:
        tables += chunk.sequence.blocks
        tables += [0] * (width - len(chunk.sequence.blocks))
    # One array of all of them: to make five takes four times as long.
    numbers = np.array(token_ids + positions + rows + outputs + tables, np.int32)
    tokens = len(token_ids)
    first_output = 2 * tokens + len(rows)
    first_table = first_output + len(outputs)
    return Batch(
        numbers[:tokens],
        numbers[tokens : 2 * tokens],
        numbers[2 * tokens : first_output],
        numbers[first_table:].reshape(len(chunks), width),
        numbers[first_output:first_table],
        counts,
        _sources(unknown, tokens),
    )


def _sources(unknown: list[tuple[int, int]], count: int) -> Int32 | None:
    if not unknown:
        return None
    sources = np.full(count, -1, np.int32)
    rows, places = zip(*unknown, strict=True)
    sources[list(rows)] = places
    return sources
