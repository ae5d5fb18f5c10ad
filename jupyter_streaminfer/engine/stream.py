"""The Stream: the one log of what a generation brought, written once and read by any number of cursors."""

from __future__ import annotations

import secrets
import time
from array import array
from collections.abc import Callable
from typing import Literal

import msgspec

from jupyter_streaminfer.engine.cursor import Cursor
from jupyter_streaminfer.protocol import (
    Cancelled,
    Completed,
    Delta,
    ErrorInfo,
    Event,
    Failed,
    Generate,
    StreamDocument,
    StreaminferError,
    StreamStatus,
    Timings,
    TokenLogprobs,
    Usage,
)

Terminal = Completed | Cancelled | Failed
STATES: dict[type[Terminal], Literal["completed", "cancelled", "failed"]] = {
    Completed: "completed",
    Cancelled: "cancelled",
    Failed: "failed",
}

_encode = msgspec.json.Encoder().encode


class Stream:
    """One generation's log: deltas with ``seq`` dense from 0, then exactly one terminal event.

    The log is kept in columns (a text per delta, flat token ids, times and log-probabilities), so an hour-old
    stream costs little more than its output, and any run of deltas is merged by slicing. Used on one event loop only.
    """

    def __init__(self, id: str, request: Generate, version: str, accepted: float) -> None:
        """``accepted``: the moment on the monotonic clock, in seconds, that all timings count from."""
        self.id = id
        self.epoch = secrets.token_urlsafe(6)
        self.request = request
        self.version = version
        self.accepted = accepted
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.terminal: Terminal | None = None
        self.on_consumers: Callable[[Stream], None] = lambda stream: None
        """Told when the number of cursors changes to or from none."""
        self._texts: list[str] = []
        self._token_ids = array("q")
        self._at_ms = array("d")
        self._logprobs: list[TokenLogprobs] = []
        self._ends = array("q")
        self._queue_ms: float | None = None
        self._cursors: set[Cursor] = set()
        self._frame: tuple[int, int, bytes] | None = None

    # The writer's side.

    def start(self, ago_ms: float, cached_tokens: int = 0) -> None:
        """Note that the first computation began, ``ago_ms`` before now, after so many cached tokens of the prompt."""
        if self._queue_ms is None:
            self._queue_ms = round(max(0.0, self._elapsed_ms() - ago_ms), 2)
            self.cached_tokens = cached_tokens

    def append(self, token_ids: list[int], text: str, logprobs: list[TokenLogprobs] | None = None) -> None:
        """Append one delta of any number of tokens and tell every cursor; ``logprobs`` has one for each token."""
        now = self._elapsed_ms()
        self._texts.append(text)
        self._token_ids.extend(token_ids)
        self._at_ms.extend([now] * len(token_ids))
        self._logprobs.extend(logprobs or ())
        self._ends.append(len(self._token_ids))
        self._tell()

    def complete(self, finish_reason: Literal["stop", "length"]) -> None:
        """Close the log in order."""
        self._close(Completed(self.id, self.head, finish_reason, self._usage(), self._timings()))

    def cancel(self, reason: Literal["client", "abandoned", "unload", "shutdown"]) -> None:
        """Close the log because somebody ended the generation."""
        self._close(Cancelled(self.id, self.head, reason, self._usage(), self._timings()))

    def fail(self, error: ErrorInfo) -> None:
        """Close the log because the generation cannot go on; what is in it stays valid."""
        self._close(Failed(self.id, self.head, error, self._usage(), self._timings()))

    def _close(self, terminal: Terminal) -> None:
        if self.terminal is None:
            self.terminal = terminal
            self._tell()

    def _tell(self) -> None:
        for cursor in tuple(self._cursors):
            cursor.notify()

    def _elapsed_ms(self) -> float:
        return round((time.monotonic() - self.accepted) * 1000, 2)

    def _usage(self) -> Usage:
        return Usage(self.prompt_tokens, len(self._token_ids), self.cached_tokens)

    def _timings(self) -> Timings:
        now = self._elapsed_ms()
        queue_ms = now if self._queue_ms is None else self._queue_ms
        return Timings(queue_ms, self._at_ms[0] if self._at_ms else None, now)

    # The readers' side.

    @property
    def head(self) -> int:
        """The ``seq`` that the next event will have."""
        return len(self._texts) + (self.terminal is not None)

    @property
    def deltas(self) -> int:
        """How many deltas the log holds; the terminal event's ``seq`` once there is one."""
        return len(self._texts)

    @property
    def closed(self) -> bool:
        return self.terminal is not None

    @property
    def consumers(self) -> int:
        return len(self._cursors)

    @property
    def text(self) -> str:
        """Everything generated so far."""
        return "".join(self._texts)

    def delta(self, first: int, last: int) -> Delta:
        """The deltas ``first`` to ``last``, both included, as one."""
        begin = self._ends[first - 1] if first else 0
        end = self._ends[last]
        return Delta(
            self.id,
            first,
            self._texts[first] if first == last else "".join(self._texts[first : last + 1]),
            self._token_ids[begin:end].tolist(),
            self._at_ms[begin:end].tolist(),
            None if first == last else last,
            None if self.request.logprobs is None else self._logprobs[begin:end],
        )

    def frame(self, first: int, last: int) -> bytes:
        """`delta` as JSON text; cursors that keep pace with each other share one serialisation."""
        if self._frame is None or self._frame[:2] != (first, last):
            self._frame = (first, last, _encode(self.delta(first, last)))
        return self._frame[2]

    def cursor(self, after: int = -1, epoch: str | None = None, notify: Callable[[], None] | None = None) -> Cursor:
        """A new consumer that reads everything after the ``seq`` ``after``.

        ``notify`` is called on the loop whenever there is something to take. Raises `StreaminferError`
        where the reading could not be whole: another ``epoch``, or an ``after`` that was never written.
        """
        if epoch is not None and epoch != self.epoch:
            raise StreaminferError(
                "invalid_request",
                f"Stream {self.id} is in another epoch now, so what you read of it is void. Attach again without "
                "epoch and after to read it from its start.",
                field="epoch",
            )
        if after >= self.head:
            raise StreaminferError(
                "invalid_request",
                f"Stream {self.id} has no event {after} yet; its next one is {self.head}. Attach with the seq of the "
                "last event that you received, or -1 for none.",
                field="after",
            )
        cursor = Cursor(self, after, notify)
        self._cursors.add(cursor)
        if len(self._cursors) == 1:
            self.on_consumers(self)
        return cursor

    def release(self, cursor: Cursor) -> None:
        """Let a consumer go; releasing it twice changes nothing."""
        if cursor in self._cursors:
            self._cursors.discard(cursor)
            if not self._cursors:
                self.on_consumers(self)

    def status(self) -> StreamStatus:
        """The stream without its events."""
        return StreamStatus(
            stream=self.id,
            epoch=self.epoch,
            model=self.request.model,
            version=self.version,
            state="open" if self.terminal is None else STATES[type(self.terminal)],
            floor=0,
            head=self.head,
            consumers=self.consumers,
            detached=self.request.detached,
            age_ms=self._elapsed_ms(),
        )

    def document(self) -> StreamDocument:
        """The whole log so far; its deltas as one."""
        events: list[Event] = [self.delta(0, self.deltas - 1)] if self.deltas else []
        if self.terminal is not None:
            events.append(self.terminal)
        return StreamDocument(self.status(), self.text, events)
