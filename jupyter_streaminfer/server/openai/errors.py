"""The shape that errors have at this door, and their HTTP status."""

from __future__ import annotations

from typing import Any

from jupyter_streaminfer.protocol import ErrorInfo
from jupyter_streaminfer.server.base import STATUS

OVERLOADED = 429
"""What tells this door's clients to come again later."""

_TYPES = {403: "permission_error", 409: "cancelled_error", 429: "rate_limit_error"}


def status_of(info: ErrorInfo) -> int:
    """The HTTP status of an error."""
    return OVERLOADED if info.code == "overloaded" else STATUS[info.code]


def error_body(info: ErrorInfo, status: int) -> dict[str, Any]:
    """``{"error": {"message", "type", "param", "code"}}``."""
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": info.message, "type": kind, "param": info.field, "code": info.code}}
