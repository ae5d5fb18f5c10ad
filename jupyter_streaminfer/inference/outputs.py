"""From what a model gives for a batch to the JSON text of each row's answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from typing import Any

import msgspec
import numpy as np
import torch

from jupyter_streaminfer.inference.predict_model import Outputs
from jupyter_streaminfer.protocol import ErrorInfo, Prediction, Scored, Signature, StreaminferError

NOT_FINITE = ErrorInfo("internal", "its output is not finite; are its numbers too large?", field="inputs")


class OutputWriter:
    """Writes the answers of one model, in the form of its `Signature.kind`."""

    def __init__(self, signature: Signature) -> None:
        self._labels = signature.labels
        self._classes = signature.kind == "classes"
        self._encode = msgspec.json.Encoder(enc_hook=_plain).encode

    def write(self, outputs: Outputs, count: int) -> list[bytes | ErrorInfo]:
        """The answers of ``count`` rows, or why there is none.

        Raises `StreaminferError` ``internal`` where the model gave something that is not an answer for each row.
        """
        if isinstance(outputs, torch.Tensor):
            outputs = self._whole(outputs, count)
            finite = _finite_rows(outputs)
            texts = self._class_texts(outputs) if self._classes else self._texts(outputs.tolist())
        elif isinstance(outputs, Mapping):
            tensors = {name: self._whole(tensor, count) for name, tensor in outputs.items()}
            if not tensors:
                raise _faulty("nothing")
            found = [rows for tensor in tensors.values() if (rows := _finite_rows(tensor)) is not None]
            finite = torch.stack(found).all(dim=0) if found else None
            if len(tensors) == 1:
                texts = self._texts(next(iter(tensors.values())).tolist())
            else:
                columns = zip(*(tensor.tolist() for tensor in tensors.values()), strict=True)
                texts = self._texts([dict(zip(tensors, row, strict=True)) for row in columns])
        elif isinstance(outputs, Seq) and not isinstance(outputs, str | bytes) and len(outputs) == count:
            finite = None
            texts = [self._text(value) for value in outputs]
        else:
            size = f" of length {len(outputs)}" if isinstance(outputs, Seq) else ""
            raise _faulty(f"{type(outputs).__name__}{size} for {count} rows")
        if finite is None:
            return texts
        return [text if good else NOT_FINITE for text, good in zip(texts, finite.tolist(), strict=True)]

    def _whole(self, outputs: torch.Tensor, count: int) -> torch.Tensor:
        if not outputs.dim() or len(outputs) != count:
            raise _faulty(f"a tensor of shape {list(outputs.shape)} for {count} rows")
        return outputs.cpu()

    def _class_texts(self, confidences: torch.Tensor) -> list[bytes | ErrorInfo]:
        if confidences.dim() != 2 or confidences.shape[1] != len(self._labels):
            raise _faulty(f"a tensor of shape {list(confidences.shape)}, but there are {len(self._labels)} labels")
        values, order = confidences.sort(descending=True)
        label, encode = self._labels.__getitem__, self._encode
        texts: list[bytes | ErrorInfo] = []
        for row, places in zip(values.tolist(), order.tolist(), strict=True):
            scores = [*map(Scored, map(label, places), row)]
            texts.append(encode(Prediction(scores[0].label, row[0], scores)))
        return texts

    def _texts(self, values: list[Any]) -> list[bytes | ErrorInfo]:
        return [*map(self._encode, values)]

    def _text(self, value: Any) -> bytes | ErrorInfo:
        """One answer that may hold anything."""
        try:
            text = self._encode(value)
            # JSON has no NaN: it would be said as null.
            return NOT_FINITE if b"null" in text and not _finite(value) else text
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            return ErrorInfo("internal", f"its output cannot be written as JSON: {error}")


def _finite_rows(outputs: torch.Tensor) -> torch.Tensor | None:
    """Which rows are finite, bool ``[rows]``; None where all are."""
    if not outputs.is_floating_point() or math.isfinite(float(outputs.sum())):
        return None
    return outputs.reshape(len(outputs), -1).isfinite().all(dim=1)


def _finite(value: Any) -> bool:
    """Whether there is no NaN and no infinity in a value that JSON can say."""
    match value:
        case float():
            return math.isfinite(value)
        case np.ndarray() | np.generic() | torch.Tensor():
            return _finite(value.tolist())
        case str() | bytes() | bytearray():
            return True
        case Mapping():
            return all(map(_finite, value.values()))
        case msgspec.Struct():
            return all(_finite(getattr(value, field)) for field in value.__struct_fields__)
        case list() | tuple() | set() | frozenset():
            return all(map(_finite, value))
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _faulty(found: str) -> StreaminferError:
    return StreaminferError("internal", f"the model gave {found}, not an answer for each row")
