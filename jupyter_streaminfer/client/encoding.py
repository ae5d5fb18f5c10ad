"""Requests on their way out: what Python hands in becomes JSON, and is checked as the server will check it."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np

from jupyter_streaminfer.protocol import (
    MAX_MESSAGE_BYTES,
    LoadModel,
    Request,
    StreaminferError,
    encode_inputs,
    invalid_request,
)

T = TypeVar("T", bound=Request | LoadModel)


def checked(request: T) -> tuple[T, bytes]:
    """The request as its reader will decode it, and its JSON text.

    Arrays, tensors, frames and their scalars become lists and numbers; NaN becomes null, which no numeric field takes.
    Raises `StreaminferError` that names the field at fault.
    """
    try:
        text = msgspec.json.encode(request, enc_hook=plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StreaminferError("invalid_request", f"The request cannot be written as JSON: {error}") from None
    if len(text) > MAX_MESSAGE_BYTES:
        raise StreaminferError(
            "too_large",
            f"The request is {len(text)} bytes of JSON; {MAX_MESSAGE_BYTES} are allowed. Send it in smaller parts.",
        )
    try:
        return msgspec.json.decode(text, type=type(request)), text
    except msgspec.ValidationError as error:
        raise invalid_request(error) from None


def encoded(inputs: Any) -> msgspec.Raw:
    """A prediction's inputs as `Predict` carries them; refused as `checked` refuses."""
    try:
        return encode_inputs(rows(inputs), plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StreaminferError(
            "invalid_request", f"inputs cannot be written as JSON: {error}", field="inputs"
        ) from None


def rows(inputs: Any) -> list[Any]:
    """A prediction's inputs as ``[rows, ...]``; a single row of plain numbers (``[features]``) becomes one row.

    Takes arrays, tensors, frames (one row each), series and nested sequences.
    """
    try:
        values = list(inputs) if isinstance(inputs, (list, tuple)) else plain(inputs)
    except TypeError:
        values = None
    if not isinstance(values, list):
        raise StreaminferError(
            "invalid_request",
            f"inputs: a {type(inputs).__name__} is no rows of numbers. Give an array, a tensor, a frame or lists.",
            field="inputs",
        )
    if values and isinstance(values[0], (int, float, np.number)):
        return [values]
    return values


def plain(value: Any) -> Any:
    """A value of another library as Python's own lists and numbers; raises TypeError where there is no such thing."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if not hasattr(value, "tolist") and hasattr(value, "__array__"):
        value = np.asarray(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is not numbers or text")
