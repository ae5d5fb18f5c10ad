"""What a generator yields, as the JSON text that travels."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import torch

from jupyter_streaminfer.protocol import MAX_MESSAGE_BYTES, StreaminferError


def encode(value: object) -> bytes:
    """The JSON text of a value: a string for a text, whatever else it is for anything else.

    Numbers and arrays of numpy and torch become plain ones; NaN and infinity, which JSON does not have, become null.
    Raises `StreaminferError` that says what was yielded where it is no JSON, or ``too_large``.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        raise _no_json(value, "decode it to a text, or yield its numbers as a list")
    try:
        text = _encode(value)
    except StreaminferError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise _no_json(value, str(error)) from None
    if len(text) > MAX_MESSAGE_BYTES:
        raise _too_large(value, f"{len(text)} bytes of JSON")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor | np.ndarray):
        elements = value.numel() if isinstance(value, torch.Tensor) else value.size
        if 2 * elements > MAX_MESSAGE_BYTES:  # a digit and a comma each, at least: not written to be counted
            raise _too_large(value, f"{elements} numbers")
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"there is a {type(value).__name__} in it; yield texts, numbers, lists and dicts")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def _no_json(value: object, problem: str) -> StreaminferError:
    message = f"The model yielded a {type(value).__name__}, which cannot be written as JSON: {problem}."
    return StreaminferError("internal", message)


def _too_large(value: object, size: str) -> StreaminferError:
    return StreaminferError(
        "too_large",
        f"The model yielded a {type(value).__name__} of {size}; one value has {MAX_MESSAGE_BYTES} bytes of JSON at "
        "most. Have it yield smaller ones.",
    )
