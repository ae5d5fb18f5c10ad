"""One input of a signature: from the JSON text of its rows to numpy, by decoders made once for its type and shapes.

The good path is one decode, which checks types, shapes and bounds on its way, and one call of numpy. What does not fit
is looked at again by `column_check.py`, which takes its time to say where and why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from jupyter_streaminfer.inference.column_check import check_column, limits, read_slowly, refuse_column
from jupyter_streaminfer.inference.column_tensor import read_tensor
from jupyter_streaminfer.inference.rows import Column
from jupyter_streaminfer.protocol import MAX_PREDICT_ROWS, MAX_PROMPT_CHARACTERS, TensorSpec

UNFIT = (msgspec.DecodeError, ValueError, OverflowError, RecursionError)
"""What a decoder or numpy raises for rows that are not as they should be."""
SHORT_BYTES = 1024
"""Texts up to this long are read together with others: of longer ones the numbers cost more than the call."""


class ColumnReader:
    """Reads one input's rows: an array ``[rows, *shape]``, or a list where their shapes vary or they are no numbers."""

    def __init__(self, spec: TensorSpec, path: str) -> None:
        """``path``: what its errors call it."""
        self.spec = spec
        self.path = path
        shapes: list[list[Any]] = [spec.shape, *spec.also]
        self._decoders = [msgspec.json.Decoder(_rows(spec, shape)).decode for shape in shapes]
        self._decode = self._decoders[0]
        """The one that fitted last: a client's rows come in one shape."""
        self._numeric = spec.dtype not in ("text", "any")
        self._varies = None in spec.shape
        self._shape = [size for size in spec.shape if size is not None]
        self._dtype = np.dtype(spec.dtype if self._numeric else np.int64)

    def read(self, data: bytes) -> Column:
        """The rows in a JSON text; `StreaminferError` names the row that does not fit the signature, and how."""
        if data[:1] == b"{":
            return read_tensor(self.spec, self.path, data)
        try:
            return self._column(self._decode(data))
        except UNFIT as error:
            return self._read_again(data, error)

    def read_short(self, texts: Seq[bytes]) -> tuple[np.ndarray | None, list[int]]:
        """The rows of short texts in one array, and how many of them each text has.

        0 for one that is to be read by itself: it is longer, in another form than the last ones, or wrong.
        """
        if not self._numeric or self._varies:
            return None, [0] * len(texts)
        decode = self._decode
        rows: list[Any] = []
        counts: list[int] = []
        for text in texts:
            count = 0
            if len(text) <= SHORT_BYTES:
                try:
                    own = decode(text)
                except UNFIT:
                    pass
                else:
                    rows += own
                    count = len(own)
            counts.append(count)
        try:
            return (self._array(rows) if rows else None), counts
        except UNFIT:
            return None, [0] * len(texts)

    def _read_again(self, data: bytes, error: Exception) -> Column:
        for decode in self._decoders:
            if decode is not self._decode:
                try:
                    column = self._column(decode(data))
                except UNFIT:
                    continue
                self._decode = decode
                return column
        rows = read_slowly(data, self.path)
        check_column(self.spec, self.path, rows)
        if not self._numeric or self._varies:
            raise refuse_column(self.path, f"cannot be read: {error}")
        # Each row is in one of the shapes, but not all in the same.
        return np.stack([np.array(row, self._dtype).reshape(self._shape) for row in rows])

    def _column(self, rows: list[Any]) -> Column:
        if self._varies:
            return [np.array(row, self._dtype) for row in rows]
        if self._numeric:
            return self._array(rows)
        if self.spec.dtype == "text":
            return [np.array(row, self._dtype) if isinstance(row, list) else row for row in rows]
        return rows

    def _array(self, rows: list[Any]) -> np.ndarray:
        array = np.array(rows, self._dtype)
        return array.reshape(len(rows), *self._shape) if self.spec.also else array


def _rows(spec: TensorSpec, shape: list[Any]) -> Any:
    """The type of a request's rows."""
    row = _value(spec)
    if spec.dtype not in ("text", "any"):
        for length in reversed(shape):
            low, high = (1, spec.max_length) if length is None else (length, length)
            row = Annotated[list[row], Meta(min_length=low, max_length=high)]  # type: ignore[valid-type]
    return Annotated[list[row], Meta(min_length=1, max_length=MAX_PREDICT_ROWS)]  # type: ignore[valid-type]


def _value(spec: TensorSpec) -> Any:
    """The type of one number of a row, or of a row that is none."""
    low, high = limits(spec)
    bounds = Meta(ge=None if math.isinf(low) else low, le=None if math.isinf(high) else high)
    match spec.dtype:
        case "any":
            return Any
        case "bool":
            return bool
        case "float32" | "float64":
            return Annotated[float, bounds]
        case "text":
            ids = Annotated[list[Annotated[int, bounds]], Meta(min_length=1, max_length=spec.max_length)]
            return Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)] | ids
        case _:
            return Annotated[int, bounds]
