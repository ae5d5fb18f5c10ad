"""One stream of a timeline: when each of its tokens came, taken up as they come."""

from __future__ import annotations

import msgspec

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.protocol import Delta, Partial, StreamStatus

TEXT_CHARACTERS = 40
"""What is kept of a token's text, or of a value's."""


class Row(msgspec.Struct, frozen=True):
    """What a timeline says of a stream. The TypeScript twin is ``labextension/src/timeline/track.ts``."""

    id: str
    model: str
    """Empty for a stream that was attached to and of which the engine knows nothing any more."""
    state: str
    began: float | None
    """When it was accepted, in seconds of Unix time; None where that is not known."""
    queue_ms: float | None
    """Until its first computation; None before that."""
    ttft_ms: float | None
    duration_ms: float | None
    """Until its end; None before that."""
    tokens: int
    itl_mean_ms: float | None
    """From one token to the next; None below two tokens."""
    itl_max_ms: float | None


class Track:
    """Follows a stream. Used on one thread at a time."""

    def __init__(self, stream: ClientStream) -> None:
        self.stream = stream
        self.at_ms: list[float] = []
        """When each token, text or value came, in milliseconds since the stream was accepted."""
        self.texts: list[str] = []
        """The text of each; of tokens that came together the first has that of all of them."""
        self.sent = 0
        """How many of them the pages were sent."""
        self._taken = 0
        self._worst: float | None = None
        self._status: StreamStatus | None = None

    @property
    def unknown(self) -> bool:
        """Whether the engine knows something about it that is not known here."""
        return self._status is None or (self._status.queue_ms is None and not self.stream.done)

    def learn(self, status: StreamStatus) -> None:
        """Note what the engine says."""
        self._status = status

    def take(self) -> None:
        """Take up what came since the last time."""
        pieces = self.stream.pieces
        for piece in pieces[self._taken :]:
            self._add(piece)
        self._taken = len(pieces)

    def row(self) -> Row:
        """How it stands, by what was taken up."""
        stream, status, times = self.stream, self._status, self.at_ms
        request, timings = stream.request, stream.timings
        model = status.model if status is not None else "" if request is None else request.model
        queue_ms = None if status is None else status.queue_ms
        return Row(
            id=stream.id,
            model=model,
            state=stream.state,
            began=None if status is None else status.began,
            queue_ms=queue_ms if timings is None else timings.queue_ms,
            ttft_ms=times[0] if times else None,
            duration_ms=None if timings is None else timings.duration_ms,
            tokens=len(times),
            itl_mean_ms=(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None,
            itl_max_ms=self._worst,
        )

    def _add(self, piece: Delta | Partial) -> None:
        if isinstance(piece, Partial):
            times, text = [piece.at_ms], bytes(piece.value[: TEXT_CHARACTERS * 4]).decode(errors="replace")
        else:
            times, text = piece.at_ms, piece.text
        if not times:
            return
        for at in times:
            if self.at_ms:
                self._worst = max(self._worst or 0.0, at - self.at_ms[-1])
            self.at_ms.append(at)
        self.texts += [text[:TEXT_CHARACTERS]] + [""] * (len(times) - 1)
