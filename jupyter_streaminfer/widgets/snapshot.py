"""A stream as it was at one moment: what the kernel sends to a page and a notebook keeps."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.client.received import Received
from jupyter_streaminfer.client.timings import Percentiles, StreamTimings
from jupyter_streaminfer.protocol import ErrorInfo, Generate, Run
from jupyter_streaminfer.protocol import Snapshot as Beginning
from jupyter_streaminfer.widgets.shown import Progress, progress_of, shown_text
from jupyter_streaminfer.widgets.tokens import Token, tokens_of

State = Literal["streaming", "completed", "incomplete", "cancelled", "failed", "disconnected"]

_STATES: dict[str, State] = {
    "open": "streaming",
    "completed": "completed",
    "incomplete": "incomplete",
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
    itl_p50_ms: float | None = None
    """From one token to the next; None below two tokens."""
    itl_p95_ms: float | None = None
    queue_ms: float | None = None
    """Until the first computation; None before the end."""
    duration_ms: float | None = None
    """Until the end; None before that."""

    @classmethod
    def of(cls, at_ms: list[float], before: int = 0, timings: StreamTimings | None = None) -> Figures:
        """From the times of the tokens, in milliseconds since the request was accepted; ``before``: those untimed."""
        span = at_ms[-1] - at_ms[0] if at_ms else 0.0
        rate = (len(at_ms) - 1) * 1000 / span if span > 0 else None
        itl = Percentiles.of(np.diff(at_ms))
        return cls(
            tokens=before + len(at_ms),
            tokens_per_s=rate,
            ttft_ms=at_ms[0] if at_ms else None,
            itl_p50_ms=None if itl is None else itl.p50,
            itl_p95_ms=None if itl is None else itl.p95,
            queue_ms=None if timings is None else timings.queue_ms,
            duration_ms=None if timings is None else timings.duration_ms,
        )


class Snapshot(msgspec.Struct, frozen=True):
    """The TypeScript twin is ``labextension/src/stream/snapshot.ts``."""

    stream: str
    epoch: str
    request: Generate | Run | None
    begun: Beginning | None
    """What ``text`` and ``figures`` have of the streams that this one goes on after."""
    text: str
    state: State
    figures: Figures
    error: ErrorInfo | None
    progress: Progress | None
    """Of a run, the latest that it said of it."""
    resumable: bool
    """Whether another stream may go on where this one stopped."""
    tokens: list[Token] | None = None
    """How likely the first ones of ``text`` were, where the request asked for that."""

    @classmethod
    def of(cls, stream: ClientStream) -> Snapshot:
        """The stream as it is now."""
        state, error, previous = _STATES[stream.state], stream.error, stream.previous
        begun = None if previous is None else Beginning(previous.full_text, _tokens(previous))
        return cls(
            stream=stream.id,
            epoch=stream.epoch,
            request=stream.request,
            begun=begun,
            text=shown_text(stream),
            state=state,
            figures=Figures.of(stream.at_ms, _untimed(stream), stream.timings),
            error=None if error is None else error.info,
            progress=progress_of(stream),
            resumable=stream.resumable,
            tokens=tokens_of(stream),
        )

    @property
    def size(self) -> int:
        """About how many characters it has as JSON."""
        return len(self.text) + sum(token.size for token in self.tokens or ())

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))  # a run's inputs are JSON text
        return fields


def _untimed(stream: Received) -> int:
    """The tokens of ``full_text`` that have no time in this stream."""
    before = 0 if stream.previous is None else _tokens(stream.previous)
    return before + (0 if stream.snapshot is None else stream.snapshot.tokens)


def _tokens(stream: Received) -> int:
    return _untimed(stream) + len(stream.at_ms)
