"""Requests on their way out: what Python hands in becomes JSON, and is checked as the server will check it."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np

from jupyter_streaminfer.protocol import (
    MAX_MESSAGE_BYTES,
    StreaminferError,
    invalid_request,
)

T = TypeVar("T", bound=msgspec.Struct)


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


def written(inputs: Any) -> msgspec.Raw:
    """A run's inputs as `Run` carries them; refused as `checked` refuses."""
    try:
        return msgspec.Raw(msgspec.json.encode(inputs, enc_hook=plain))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StreaminferError(
            "invalid_request", f"inputs cannot be written as JSON: {error}", field="inputs"
        ) from None


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
