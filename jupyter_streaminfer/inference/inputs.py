"""From the JSON text of a request's inputs to `Rows`, checked against the model's signature."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Sequence as Seq
from typing import Any

import msgspec

from jupyter_streaminfer.inference.column import ColumnReader
from jupyter_streaminfer.inference.column_check import limits, read_slowly, refuse_column
from jupyter_streaminfer.inference.rows import Column, Rows
from jupyter_streaminfer.protocol import MAX_DIMENSIONS, Signature, StreaminferError, Tensor, TensorSpec

MAX_INPUTS = 1024
MAX_NAME_CHARACTERS = 256
TOGETHER = 64
"""Requests whose short rows share an array at most: while one of them waits, it keeps the others' numbers."""

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_TENSOR_FIELDS = set(Tensor.__struct_fields__)


class InputReader:
    """Reads the inputs of one model's requests."""

    def __init__(self, signature: Signature) -> None:
        """Raises `StreaminferError` for a signature that no rows can fit."""
        check_signature(signature)
        self._named = {spec.name: ColumnReader(spec, f"inputs.{spec.name}") for spec in signature.inputs}
        first = signature.inputs[0]
        self._name = first.name
        self._only = ColumnReader(first, "inputs") if len(signature.inputs) == 1 else None
        """Of a model with one input, whose rows need no name."""

    def read(self, data: bytes) -> Rows:
        """The rows; `StreaminferError` ``invalid_request`` names what does not fit the signature, and how."""
        data = data.lstrip()
        if data[:1] != b"{":
            if self._only is None:
                raise refuse_column("inputs", f"must be an object with the rows of {self._names()}")
            return Rows({self._name: self._only.read(data)})
        try:
            columns: dict[str, Any] = _decode_object(data)
        except (msgspec.DecodeError, RecursionError):
            # One of the columns is at fault, or more is: it is looked for in each of them.
            columns = {name: json.dumps(rows).encode() for name, rows in read_slowly(data, "inputs").items()}
        if self._only is not None and columns.keys() == _TENSOR_FIELDS:
            return Rows({self._name: self._only.read(data)})
        return self._rows({name: self._reader(name).read(bytes(raw).lstrip()) for name, raw in columns.items()})

    def read_each(self, texts: Seq[bytes]) -> list[Rows | Exception]:
        """What `read` returns for each of them, or raises; rows of short texts are made in one go."""
        found: list[Rows | Exception] = []
        for start in range(0, len(texts), TOGETHER):
            found += self._together(texts[start : start + TOGETHER])
        return found

    def _together(self, texts: Seq[bytes]) -> list[Rows | Exception]:
        if self._only is None:
            return [*map(self._alone, texts)]
        array, counts = self._only.read_short(texts)
        if array is None:
            return [*map(self._alone, texts)]
        parts = Rows({self._name: array}).split(filter(None, counts))
        return [next(parts) if count else self._alone(text) for text, count in zip(texts, counts, strict=True)]

    def _alone(self, text: bytes) -> Rows | Exception:
        try:
            return self.read(text)
        except Exception as error:
            return error

    def _reader(self, name: str) -> ColumnReader:
        reader = self._named.get(name)
        if reader is None:
            raise refuse_column("inputs", f"has {name!r:.100}, which the model does not take; it takes {self._names()}")
        return reader

    def _rows(self, columns: dict[str, Column]) -> Rows:
        if missing := [name for name in self._named if name not in columns]:
            raise refuse_column("inputs", f"must have the rows of {self._names()}, and lacks {', '.join(missing)}")
        count = len(columns[self._name])
        for name, column in columns.items():
            if len(column) != count:
                raise refuse_column(
                    f"inputs.{name}", f"must have as many rows as inputs.{self._name}, {count}, found {len(column)}"
                )
        return Rows({name: columns[name] for name in self._named})

    def _names(self) -> str:
        return ", ".join(self._named)


def check_signature(signature: Signature) -> None:
    """Raise `StreaminferError` for a signature that contradicts itself."""
    names = [spec.name for spec in signature.inputs]
    if not 1 <= len(names) <= MAX_INPUTS or len(set(names)) != len(names):
        raise _refuse(f"must have 1 to {MAX_INPUTS} inputs of different names")
    for spec in signature.inputs:
        if not 1 <= len(spec.name) <= MAX_NAME_CHARACTERS:
            raise _refuse(f"has an input whose name is not 1 to {MAX_NAME_CHARACTERS} characters long")
        _check_spec(spec)
        if None in spec.shape and f"{spec.name}_mask" in names:
            raise _refuse(f"has an input {spec.name}_mask, which is what the mask of {spec.name} is called")
    if len(set(signature.labels)) != len(signature.labels):
        raise _refuse("has a label twice")


def _check_spec(spec: TensorSpec) -> None:
    shapes: list[list[Any]] = [spec.shape, *spec.also]
    problem: str | None = None
    if max(map(len, shapes)) >= MAX_DIMENSIONS or any(
        size is not None and size < 1 for shape in shapes for size in shape
    ):
        problem = f"a shape of fewer than {MAX_DIMENSIONS} dimensions, each at least 1"
    elif spec.shape and spec.dtype in ("text", "any"):
        problem = f"no shape, as it is {spec.dtype}"
    elif spec.also and (None in shapes[0] or len({*map(math.prod, shapes)}) > 1):
        problem = "in its other shapes as many numbers as in its own"
    elif spec.max_length is not None and spec.max_length < 1:
        problem = "a max_length of at least 1"
    elif operator.gt(*limits(spec)):
        problem = "a minimum and a maximum between which its type has numbers"
    if problem:
        raise _refuse(f"must give input {spec.name!r:.100} {problem}")


def _refuse(problem: str) -> StreaminferError:
    return StreaminferError("invalid_request", f"signature {problem}", field="signature")
