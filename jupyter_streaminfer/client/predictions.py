"""The answer to `Client.predict`: a sequence of predictions, one a row, in the form that the model's signature says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import msgspec
import numpy as np

from jupyter_streaminfer.client import tables
from jupyter_streaminfer.client.status import table
from jupyter_streaminfer.protocol import (
    OutputKind,
    Prediction,
    Result,
    Signature,
    Span,
    StreaminferError,
    TensorSpec,
    decode_outputs,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SHOWN = 10
"""Rows that a notebook shows."""
SHOWN_CHARACTERS = 80


class Predictions(Sequence[Any]):
    """What a model says of each row, in the request's order.

    A row is, by the model's kind: a `Prediction` (``classes``), a list of `Span` (``spans``), an array
    (``embedding``), an array or a dict of them by the output's name (``tensors``), or whatever the model gives
    (``values``).
    """

    def __init__(self, result: Result, signature: Signature | None = None, index: pd.Index[Any] | None = None) -> None:
        """``signature``: of the version that answered; without it only classes are told from values.

        ``index``: what names the rows in frames. Raises `msgspec.ValidationError` where outputs are not of that kind.
        """
        self.model = result.model
        self.version = result.version
        self.cached = result.cached
        """Whether it was computed before, for a request with ``cache``."""
        self.kind, self._outputs = _decoded(result.outputs, signature)
        self._specs = signature.outputs if signature else []
        self._index = index

    def __len__(self) -> int:
        return len(self._outputs)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._outputs[index]

    @property
    def labels(self) -> list[str]:
        """Each row's likeliest class."""
        return [output.label for output in self._of("labels", "classes")]

    @property
    def confidences(self) -> NDArray[np.float64]:
        """The probability of each row's label, ``[rows]``, 0 to 1."""
        return np.array([output.confidence for output in self._of("confidences", "classes")], dtype=np.float64)

    @property
    def array(self) -> NDArray[Any]:
        """All rows as one array ``[rows, ...]``, of a model with one output, whose rows have one shape."""
        arrays = self.arrays
        if len(arrays) != 1:
            raise self._refused("array", f"this model has {len(arrays)} outputs: see .arrays")
        [(name, rows)] = arrays.items()
        if not isinstance(rows, np.ndarray):
            raise self._refused("array", f"rows of {name!r} have different shapes: take them one by one")
        return rows

    @property
    def arrays(self) -> dict[str, Any]:
        """The rows of each output by its name: an array ``[rows, ...]``, or a list where rows have different shapes."""
        outputs = self._of("arrays", "embedding", "tensors")
        if outputs and isinstance(outputs[0], dict):
            return {name: _stacked([row[name] for row in outputs]) for name in outputs[0]}
        name = self._specs[0].name if self._specs else "value"
        return {name: _stacked(outputs)}

    def to_frame(self) -> pd.DataFrame:
        """One row each, with the index of the frame that was asked about.

        Columns: ``label``, ``confidence`` and every class (``classes``); ``row``, ``start``, ``end``, ``text``,
        ``label``, ``confidence`` with one row a span (``spans``); the outputs (``embedding``, ``tensors``); or the
        values' own keys, otherwise ``value``.
        """
        match self.kind:
            case "classes":
                return tables.classes(self._outputs, self._index)
            case "spans":
                return tables.spans(self._outputs, self._index)
            case "embedding" | "tensors":
                return tables.arrays(self.arrays, self._index)
            case _:
                return tables.values(self._outputs, self._index)

    def __repr__(self) -> str:
        lines = [
            f"{row}: {answer}" + "".join(f" ({confidence})" for confidence in more)
            for row, answer, *more in self._shown()
        ]
        return "\n".join([f"<Predictions of {self.model}: {self._count()}>", *lines, *self._rest()])

    def _repr_html_(self) -> str:
        names = ["row", "label", "confidence"] if self.kind == "classes" else ["row", "answer"]
        rest = "".join(f"<p>{line}</p>" for line in self._rest())
        return table(f"{self.model}: {self._count()}", names, self._shown()) + rest

    def _of(self, what: str, *kinds: OutputKind) -> list[Any]:
        if self.kind not in kinds:
            raise self._refused(what, f"this model gives {self.kind}, not {' or '.join(kinds)}")
        return self._outputs

    def _refused(self, what: str, reason: str) -> StreaminferError:
        return StreaminferError("invalid_request", f"{what}: {reason}.", field=what)

    def _shown(self) -> list[list[str]]:
        return [[str(index), *_cells(self.kind, output)] for index, output in enumerate(self._outputs[:SHOWN])]

    def _count(self) -> str:
        return "1 row" if len(self) == 1 else f"{len(self)} rows"

    def _rest(self) -> list[str]:
        return [f"and {len(self) - SHOWN} more"] if len(self) > SHOWN else []


def _decoded(outputs: msgspec.Raw, signature: Signature | None) -> tuple[OutputKind, list[Any]]:
    if signature is None:
        try:
            return "classes", msgspec.json.decode(outputs, type=list[Prediction])
        except msgspec.ValidationError:
            return "values", decode_outputs(outputs)
    match signature.kind:
        case "classes":
            return "classes", msgspec.json.decode(outputs, type=list[Prediction])
        case "spans":
            return "spans", msgspec.json.decode(outputs, type=list[list[Span]])
        case "embedding":
            rows = msgspec.json.decode(outputs, type=list[list[float]])
            return "embedding", [np.array(row, dtype=np.float32) for row in rows]
        case "tensors":
            return "tensors", [_tensors(row, signature.outputs) for row in decode_outputs(outputs)]
        case "values":
            return "values", decode_outputs(outputs)


def _tensors(row: Any, specs: list[TensorSpec]) -> Any:
    if isinstance(row, dict):
        dtypes = {spec.name: spec.dtype for spec in specs}
        return {name: _array(value, dtypes.get(name)) for name, value in row.items()}
    return _array(row, specs[0].dtype if len(specs) == 1 else None)


def _array(value: Any, dtype: str | None) -> NDArray[Any]:
    return np.array(value, dtype=None if dtype in ("any", "text") else dtype)


def _stacked(rows: list[Any]) -> Any:
    return np.stack(rows) if len({row.shape for row in rows}) == 1 else rows


def _cells(kind: OutputKind, output: Any) -> list[str]:
    match kind:
        case "classes":
            return [output.label, f"{output.confidence:.0%}"]
        case "spans":
            text = ", ".join(f"{span.text} ({span.label} {span.confidence:.0%})" for span in output)
        case "embedding":
            text = f"{len(output)} numbers"
        case "tensors":
            named = output if isinstance(output, dict) else {"": output}
            text = ", ".join(f"{name} {_brief(array)}".strip() for name, array in named.items())
        case _:
            text = repr(output)
    return [text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"]


def _brief(array: NDArray[Any]) -> str:
    return f"{array.item():.6g}" if array.size == 1 else f"{array.dtype}{list(array.shape)}"
