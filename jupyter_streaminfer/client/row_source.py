"""Rows of any kind, cut into chunks without being held."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jupyter_streaminfer.client.tables import is_frame
from jupyter_streaminfer.protocol import StreaminferError


@dataclass(frozen=True)
class Chunk:
    """Some rows, in the form that they came in."""

    inputs: Any

    def __len__(self) -> int:
        return _rows(self.inputs)

    def cut(self, first: int, end: int) -> Chunk:
        """The rows from ``first`` to before ``end``."""
        return Chunk(_cut(self.inputs, first, end))


class RowSource:
    """An iterable of rows, or rows that are there already: an array, a tensor, a frame, columns by name, a list."""

    def __init__(self, rows: Iterable[Any] | AsyncIterable[Any], chunk_rows: int) -> None:
        self._chunk_rows = chunk_rows
        self._rows = rows
        self._sliced = isinstance(rows, Mapping | list | tuple) or is_frame(rows) or hasattr(rows, "__array__")
        if isinstance(rows, str) or not (self._sliced or isinstance(rows, Iterable | AsyncIterable)):
            raise StreaminferError(
                "invalid_request", f"rows: a {type(rows).__name__} is no iterable of rows.", field="rows"
            )
        if isinstance(rows, Mapping) and len({len(column) for column in rows.values()}) != 1:
            raise StreaminferError("invalid_request", "rows: all columns must have equally many rows.", field="rows")
        self.total: int | None = _rows(rows) if self._sliced else _length(rows)
        """How many there are; None where that is not known."""

    def chunks(self) -> Iterator[Chunk]:
        """The rows, read as chunks are asked for; the last one may be shorter."""
        if self._sliced:
            yield from self._slices()
            return
        if not isinstance(self._rows, Iterable):
            raise TypeError("These rows come from an asynchronous iterable: read the stream with `async for`.")
        rows = iter(self._rows)
        while chunk := list(islice(rows, self._chunk_rows)):
            yield Chunk(chunk)

    async def async_chunks(self) -> AsyncIterator[Chunk]:
        """The same, also of an asynchronous iterable."""
        if not isinstance(self._rows, AsyncIterable):
            for chunk in self.chunks():
                yield chunk
            return
        rows: list[Any] = []
        async for row in self._rows:
            rows.append(row)
            if len(rows) == self._chunk_rows:
                yield Chunk(rows)
                rows = []
        if rows:
            yield Chunk(rows)

    def _slices(self) -> Iterator[Chunk]:
        total = _rows(self._rows)
        for first in range(0, total, self._chunk_rows):
            yield Chunk(_cut(self._rows, first, min(first + self._chunk_rows, total)))


def _rows(inputs: Any) -> int:
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def _length(rows: object) -> int | None:
    return len(rows) if hasattr(rows, "__len__") else None


def _cut(inputs: Any, first: int, end: int) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _cut(column, first, end) for name, column in inputs.items()}
    return (inputs.iloc if hasattr(inputs, "iloc") else inputs)[first:end]
