"""A stream as it was at one moment: what the kernel sends to a page and a notebook keeps."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.protocol import ErrorInfo, Generate

State = Literal["streaming", "completed", "cancelled", "failed", "disconnected"]

_STATES: dict[str, State] = {
    "open": "streaming",
    "completed": "completed",
    "cancelled": "cancelled",
    "failed": "failed",
    "lost": "disconnected",
}


class Figures(msgspec.Struct, frozen=True):
    """How fast it is, on the server's clock."""

    tokens: int
    tokens_per_s: float | None
    """Over all tokens but the first; None below two tokens."""
    ttft_ms: float | None

    @classmethod
    def of(cls, at_ms: list[float]) -> Figures:
        """From the times of the tokens, in milliseconds since the request was accepted."""
        span = at_ms[-1] - at_ms[0] if at_ms else 0.0
        rate = (len(at_ms) - 1) * 1000 / span if span > 0 else None
        return cls(len(at_ms), rate, at_ms[0] if at_ms else None)


class Snapshot(msgspec.Struct, frozen=True):
    """The TypeScript twin is ``labextension/src/snapshot.ts``."""

    stream: str
    epoch: str
    request: Generate | None
    text: str
    state: State
    figures: Figures
    error: ErrorInfo | None

    @classmethod
    def of(cls, stream: ClientStream) -> Snapshot:
        """The stream as it is now."""
        state, error = _STATES[stream.state], stream.error
        return cls(
            stream=stream.id,
            epoch=stream.epoch,
            request=stream.request,
            text=stream.text,
            state=state,
            figures=Figures.of(stream.at_ms),
            error=None if error is None else error.info,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields
