"""The rows of a request, or of a batch of many: column by column, as a model's inputs have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np

Column = np.ndarray | list[Any]
"""An array ``[rows, *shape]`` where all rows have one shape, whoever they come from; otherwise a list of one thing a
row: an array, of any length, or a value that is no number."""

Bucket = tuple[int, ...]
"""How large a row is: the logarithm of each dimension, rounded up. Rows for which it is the same are padded to less
than twice their size along each dimension, but for short ones."""
SHORT = 16
"""Sizes up to this are alike."""


class Rows:
    """One row or more, each with a value in every column.

    Parts of rows know what they are part of: neighbours are put together again without a look at what they hold.
    """

    __slots__ = ("_end", "_start", "_whole")

    def __init__(self, columns: Mapping[str, Column]) -> None:
        """``columns``: by name, all of the same length."""
        self._whole = columns
        self._start = 0
        self._end = len(next(iter(columns.values())))

    def __len__(self) -> int:
        return self._end - self._start

    def __getitem__(self, part: slice) -> Rows:
        """The rows of a slice without a step, not copied."""
        start, end, _ = part.indices(len(self))
        return _part(self._whole, self._start + start, self._start + max(start, end))

    def split(self, counts: Iterable[int]) -> Iterator[Rows]:
        """Parts of so many rows each, one after the other, not copied."""
        start = self._start
        for count in counts:
            yield _part(self._whole, start, start + count)
            start += count

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns by name."""
        start, end = self._start, self._end
        return {
            name: column if end - start == len(column) else column[start:end] for name, column in self._whole.items()
        }

    def pick(self, indices: Seq[int]) -> Rows:
        """The rows of these numbers, in this order."""
        return Rows(
            {
                name: column[indices] if isinstance(column, np.ndarray) else [column[index] for index in indices]
                for name, column in self.columns.items()
            }
        )

    @property
    def buckets(self) -> list[Bucket] | None:
        """How large each row is, roughly; None where all have one shape."""
        arrays: list[list[np.ndarray]] = []
        for column in self._whole.values():
            if isinstance(column, list):
                part = column[self._start : self._end]
                if all(isinstance(value, np.ndarray) for value in part):
                    arrays.append(part)
        if not arrays:
            return None
        return [
            tuple((max(size, SHORT) - 1).bit_length() for array in row for size in array.shape)
            for row in zip(*arrays, strict=True)
        ]

    @staticmethod
    def concat(parts: Seq[Rows]) -> Rows:
        """The rows of all parts, which have the same columns, one after the other."""
        if len(parts) == 1:
            return parts[0]
        runs: list[Rows] = []
        whole, start, end = parts[0]._whole, parts[0]._start, parts[0]._end
        for part in parts[1:]:
            if part._whole is whole and part._start == end:
                end = part._end
            else:
                runs.append(_part(whole, start, end))
                whole, start, end = part._whole, part._start, part._end
        if not runs:
            return _part(whole, start, end)
        runs.append(_part(whole, start, end))
        every = [run.columns for run in runs]
        columns: dict[str, Column] = {}
        for name, first in every[0].items():
            if isinstance(first, np.ndarray):
                columns[name] = np.concatenate([each[name] for each in every])
            else:
                columns[name] = [value for each in every for value in each[name]]
        return Rows(columns)


def _part(whole: Mapping[str, Column], start: int, end: int) -> Rows:
    part = Rows.__new__(Rows)
    part._whole, part._start, part._end = whole, start, end
    return part
