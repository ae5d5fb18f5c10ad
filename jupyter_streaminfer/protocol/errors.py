"""The one shape that errors have everywhere, and the exception that carries it."""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct, ValidationError

ErrorCode = Literal[
    "invalid_request",
    "model_not_found",
    "model_not_ready",
    "stream_not_found",
    "upload_not_found",
    "rate_limited",
    "overloaded",
    "too_large",
    "expired",
    "deadline",
    "cancelled",
    "worker_lost",
    "internal",
]


class ErrorInfo(Struct, frozen=True, omit_defaults=True):
    """Why something was refused or failed, in the one shape that errors have everywhere."""

    code: ErrorCode
    message: str
    """What is wrong and what to do about it."""
    retryable: bool = False
    field: str | None = None
    """The request's field that is at fault."""
    retry_after_ms: float | None = None


class StreaminferError(Exception):
    """An `ErrorInfo` on its way to whoever asked."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        field: str | None = None,
        retryable: bool = False,
        retry_after_ms: float | None = None,
    ) -> None:
        super().__init__(message)
        self.info = ErrorInfo(code, message, retryable, field, retry_after_ms)

    @classmethod
    def of(cls, info: ErrorInfo) -> StreaminferError:
        """The exception that carries ``info``."""
        return cls(
            info.code,
            info.message,
            field=info.field,
            retryable=info.retryable,
            retry_after_ms=info.retry_after_ms,
        )

    @property
    def code(self) -> ErrorCode:
        return self.info.code

    @property
    def field(self) -> str | None:
        return self.info.field


_FIELD = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")


def invalid_request(error: ValidationError) -> StreaminferError:
    """The refusal of a message that does not fit its type; it names the field where msgspec's error does."""
    message = str(error)
    found = _FIELD.search(message)
    path = found["path"] if found else ""
    if unknown := _UNKNOWN_FIELD.search(message):
        path = f"{path}.{unknown['name']}" if path else unknown["name"]
    reason = _FIELD.sub("", message)
    return StreaminferError("invalid_request", f"{path}: {reason}" if path else reason, field=path or None)
