"""The rows of a request, or of a batch of many: column by column, as a model's inputs have them."""

from __future__ import annotations

from collections.abc import Mapping
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
    """One row or more, each with a value in every column."""

    __slots__ = ("_count", "columns")

    def __init__(self, columns: Mapping[str, Column]) -> None:
        """``columns``: by name, all of the same length."""
        self.columns = columns
        self._count = len(next(iter(columns.values())))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> Rows:
        """The rows of a slice, not copied."""
        return Rows({name: column[part] for name, column in self.columns.items()})

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
        arrays = [
            column
            for column in self.columns.values()
            if isinstance(column, list) and all(isinstance(value, np.ndarray) for value in column)
        ]
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
        columns: dict[str, Column] = {}
        for name, first in parts[0].columns.items():
            if isinstance(first, np.ndarray):
                columns[name] = np.concatenate([part.columns[name] for part in parts])
            else:
                columns[name] = [value for part in parts for value in part.columns[name]]
        return Rows(columns)
