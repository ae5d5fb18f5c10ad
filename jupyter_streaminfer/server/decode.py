"""Reading what a client sent: a typed request, or a refusal that names the field and says what is allowed."""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar, get_args

import msgspec

from jupyter_streaminfer.protocol import MAX_MESSAGE_BYTES, ClientMessage, StreaminferError, invalid_request

T = TypeVar("T")

TYPES = ", ".join(request.__struct_config__.tag for request in get_args(ClientMessage))
_MISSING = re.compile(r"missing required field `(?P<name>[^`]+)`")
_HEAD_BYTES = 512
_ID_AT_HEAD = re.compile(
    rb'\s*\{\s*(?:"type"\s*:\s*"[a-z]{1,16}"\s*,\s*)?"id"\s*:\s*"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,128})"'
)


class UnreadableRequestError(Exception):
    """A frame that is no request: the refusal, and the ``id`` to tell it to where one could be read."""

    def __init__(self, error: StreaminferError, id: str | None) -> None:
        super().__init__(str(error))
        self.info = error.info
        self.id = id


def decode(text: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The message that ``text`` is; raises `StreaminferError` ``invalid_request`` or ``too_large``."""
    if len(text) > MAX_MESSAGE_BYTES:
        raise StreaminferError(
            "too_large",
            f"The message has {len(text)} bytes; {MAX_MESSAGE_BYTES} are allowed. Send it in smaller parts.",
        )
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _explained(error) from None
    except UnicodeDecodeError:
        raise StreaminferError(
            "invalid_request", "The message is not UTF-8. Send JSON text encoded as UTF-8."
        ) from None
    except RecursionError:
        raise StreaminferError("invalid_request", "The message is nested too deeply. Send flatter lists.") from None
    except msgspec.DecodeError as error:
        raise _not_json(text, error) from None


_messages = msgspec.json.Decoder(ClientMessage)


def decode_message(frame: bytes) -> ClientMessage:
    """The message in a text frame; raises `UnreadableRequestError`."""
    try:
        message: ClientMessage = decode(frame, _messages)
    except StreaminferError as error:
        raise UnreadableRequestError(error, _id_of(frame)) from None
    return message


def _explained(error: msgspec.ValidationError) -> StreaminferError:
    """The decoder's own words, with the field and what may be there instead."""
    refusal = invalid_request(error)
    message = str(refusal)
    field = refusal.field
    if field is None and (missing := _MISSING.search(message)):
        field = missing["name"]
    if field == "type":
        message = f"{message}. It must be one of: {TYPES}."
    elif "unknown field" in message:
        message = f"{message}. Leave it out, or check its spelling."
    return StreaminferError("invalid_request", message, field=field)


def _lenient(text: bytes) -> Any:
    """What the standard library reads, which knows NaN and Infinity; None where it cannot read it either."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _not_json(text: bytes, error: msgspec.DecodeError) -> StreaminferError:
    message = _lenient(text)
    if isinstance(message, dict):
        for field, value in message.items():
            if _has_non_finite(value):
                return StreaminferError(
                    "invalid_request", f"{field}: NaN and Infinity are not JSON. Send finite numbers.", field=field
                )
    return StreaminferError("invalid_request", f"The message is not JSON: {error}. Send one JSON object.")


def _has_non_finite(value: Any) -> bool:
    containers = [[value]]
    while containers:
        for each in containers.pop():
            if isinstance(each, float) and not math.isfinite(each):
                return True
            if isinstance(each, list):
                containers.append(each)
            elif isinstance(each, dict):
                containers.append(list(each.values()))
    return False


def _id_of(frame: bytes) -> str | None:
    """The ``id`` of a request that cannot be read as a whole, if it has one that can be repeated."""
    if len(frame) > MAX_MESSAGE_BYTES:
        head = _ID_AT_HEAD.match(frame[:_HEAD_BYTES])
        return head[1].decode("ascii") if head else None
    request = _lenient(frame)
    id = request.get("id") if isinstance(request, dict) else None
    if not isinstance(id, str) or not 1 <= len(id) <= 128:
        return None
    try:
        id.encode("utf-8")
    except UnicodeEncodeError:
        # A lone surrogate: readable as a JSON escape, but no text that can be sent back.
        return None
    return id
