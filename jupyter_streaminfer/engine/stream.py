"""The Stream: the one log of what a generation or a run brought, written once and read by any number of cursors."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Raw

from jupyter_streaminfer.engine.cursor import Cursor
from jupyter_streaminfer.engine.log import DeltaLog
from jupyter_streaminfer.engine.yields import YieldLog
from jupyter_streaminfer.protocol import (
    Cancelled,
    Completed,
    Delta,
    ErrorInfo,
    Event,
    Failed,
    Generate,
    Incomplete,
    Notice,
    Oddity,
    Run,
    StreamDocument,
    StreaminferError,
    StreamStatus,
    Timings,
    TokenLogprobs,
    Usage,
)

Terminal = Completed | Cancelled | Failed | Incomplete
STATES: dict[type[Terminal], Literal["completed", "cancelled", "failed", "incomplete"]] = {
    Completed: "completed",
    Cancelled: "cancelled",
    Failed: "failed",
    Incomplete: "incomplete",
}
WARN_AT = 0.8
RESUME_AT = 0.5
"""The parts of its window at which a laggard is warned, and at which its stream no longer waits for it."""
SHARED_BYTES = 64 * 2**10
"""Frames that are longer than this together are not kept for other readers."""

_encode = msgspec.json.Encoder().encode


class Stream:
    """One generation's or run's log: deltas and values with ``seq`` dense from 0, then exactly one terminal event.

    It also knows how far its consumers lag: where all of them do by a whole window, it asks to be paused.
    Used on one event loop only.
    """

    def __init__(
        self,
        id: str,
        request: Generate | Run,
        version: str,
        accepted: float,
        *,
        seed: int = 0,
        begun: list[int] | None = None,
        window_tokens: int = 4096,
        max_bytes: int = 8 * 2**20,
        client: str = "",
        arm: str = "",
    ) -> None:
        """``accepted``: the moment on the monotonic clock, in seconds, that all timings count from.

        ``begun``: the tokens of the answer that another stream has, where this one continues it. ``window_tokens``:
        how far consumers may lag. ``max_bytes``: what the log may take before it shrinks. ``client`` and ``arm``: see
        `StreamStatus`.
        """
        self.id = id
        self.epoch = secrets.token_urlsafe(6)
        self.request = request
        self.model = request.model.partition("@")[0]
        """Its name; the request may have named a version, too."""
        self.version = version
        self.accepted = accepted
        self.began = time.time() - time.monotonic() + accepted
        """The same moment in seconds of Unix time."""
        self.client = client
        self.arm = arm
        self.seed = seed
        self._begun = begun or []
        self.log: DeltaLog | YieldLog = (
            DeltaLog(with_logprobs=request.logprobs is not None) if isinstance(request, Generate) else YieldLog()
        )
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.queue_ms: float | None = None
        """Until its first computation; None before that."""
        self.terminal: Terminal | None = None
        self.odd: list[Oddity] = []
        """What was found odd about it."""
        self.paused = False
        self.on_consumers: Callable[[Stream], None] = lambda stream: None
        """Told when the number of cursors changes to or from none."""
        self.on_pause: Callable[[Stream], None] = lambda stream: None
        """Told when `paused` changed."""
        self.on_slow: Callable[[], None] = lambda: None
        """Told when a laggard is warned."""
        self._window = window_tokens
        self._max_bytes = max_bytes
        self._cursors: set[Cursor] = set()
        self._left_at = 0
        """What the last consumer had dealt with when it left."""
        self._frames: tuple[int, int, list[bytes]] | None = None
        """Those made last, of which events, where they are not too long to be kept."""

    # The writer's side.

    def start(self, ago_ms: float, cached_tokens: int = 0) -> bool:
        """Note that the first computation began, ``ago_ms`` before now, after so many cached tokens of the prompt.

        Returns whether it is the first: a stream that is tried again has begun already.
        """
        first = self.queue_ms is None
        if first:
            self.queue_ms = round(max(0.0, self._elapsed_ms() - ago_ms), 2)
            self.cached_tokens = cached_tokens
        return first

    def append(self, token_ids: list[int], text: str, logprobs: list[TokenLogprobs] | None = None) -> None:
        """Append one delta of any number of tokens and tell every cursor; ``logprobs`` has one for each token."""
        log = self.log
        assert isinstance(log, DeltaLog)  # noqa: S101 (what a generation has)
        log.append(token_ids, text, self._elapsed_ms(), logprobs)
        self._grown()

    def add(self, entry: str | Raw) -> None:
        """Append what a run yielded, a text or a value's JSON text, and tell every cursor.

        Raises `StreaminferError` ``too_large``, and nothing is appended, where its text is more than can be kept.
        """
        log = self.log
        assert isinstance(log, YieldLog)  # noqa: S101 (what a run has)
        if log.unsheddable > self._max_bytes // 2:
            raise StreaminferError(
                "too_large",
                f"The stream has brought {len(self.text)} characters of text, all that is kept of one "
                "(c.StreaminferApp.max_stream_bytes). Have the model yield less text, or values (a dict, a list, a "
                "number), of which the oldest make room.",
            )
        log.append(entry, self._elapsed_ms())
        self._grown()

    def _grown(self) -> None:
        if self.log.nbytes > self._max_bytes:
            self.log.shrink()
        self._tell()
        if self.log.weight >= self._window * WARN_AT:
            self._watch_laggards()

    def complete(self, finish_reason: Literal["stop", "length"]) -> None:
        """Close the log in order."""
        self._close(Completed(self.id, self.head, finish_reason, self._usage(), self._timings()))

    def stop_short(self, reason: Literal["deadline"]) -> None:
        """Close the log in order, before its end."""
        self._close(Incomplete(self.id, self.head, reason, self._usage(), self._timings()))

    def cancel(self, reason: Literal["client", "abandoned", "unload", "shutdown"]) -> None:
        """Close the log because somebody ended the generation."""
        self._close(Cancelled(self.id, self.head, reason, self._usage(), self._timings()))

    def fail(self, error: ErrorInfo, *, resumable: bool = False) -> None:
        """Close the log because the generation cannot go on; what is in it stays valid."""
        self._close(Failed(self.id, self.head, error, self._usage(), self._timings(), resumable))

    def notice(
        self,
        code: Literal["paused", "resumed", "retrying", "repeating", "stalled", "long", "alert"],
        message: str,
    ) -> None:
        """Tell every consumer of something that is in no log."""
        for cursor in tuple(self._cursors):
            cursor.notice(Notice(self.id, code, message))

    def _close(self, terminal: Terminal) -> None:
        if self.terminal is None:
            self.paused = False
            self.terminal = terminal
            self._tell()

    def _tell(self) -> None:
        for cursor in tuple(self._cursors):
            cursor.notify()

    def _elapsed_ms(self) -> float:
        return round((time.monotonic() - self.accepted) * 1000, 2)

    def _usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.log.tokens, self.cached_tokens)

    def _timings(self) -> Timings:
        now = self._elapsed_ms()
        return Timings(now if self.queue_ms is None else self.queue_ms, self.log.first_at_ms, now)

    # Consumers that lag.

    def _watch_laggards(self) -> None:
        """Warn who lags by 80 % of the window; pause when everyone lags by all of it."""
        least = None
        for cursor in self._cursors:
            lag = cursor.lag
            least = lag if least is None else min(least, lag)
            if lag >= self._window * WARN_AT and not cursor.warned:
                cursor.warned = True
                cursor.notice(
                    Notice(
                        self.id,
                        "slow_consumer",
                        f"You are {lag} tokens behind; at {self._window} the stream waits until you catch up.",
                    )
                )
                self.on_slow()
        if least is None and isinstance(self.log, YieldLog):
            # A callable may be too fast for who comes back within the grace period: its log would have moved on.
            least = self.log.weight - self._left_at
        if least is not None and least >= self._window and not (self.paused or self.closed or self.request.detached):
            self.paused = True
            self.on_pause(self)
            self.notice("paused", f"The stream waits: all its readers are {self._window} tokens behind.")

    def relieved(self, cursor: Cursor) -> None:
        """A consumer dealt with something."""
        if cursor.lag <= self._window * RESUME_AT:
            cursor.warned = False
            if self.paused:
                self.paused = False
                self.on_pause(self)
                self.notice("resumed", "The stream goes on.")

    # The readers' side.

    @property
    def floor(self) -> int:
        """The lowest ``seq`` that can be read."""
        return self.log.floor

    @property
    def head(self) -> int:
        """The ``seq`` that the next event will have."""
        return len(self.log) + (self.terminal is not None)

    @property
    def deltas(self) -> int:
        """How many deltas and values there were; the terminal event's ``seq`` once there is one."""
        return len(self.log)

    @property
    def closed(self) -> bool:
        return self.terminal is not None

    @property
    def consumers(self) -> int:
        return len(self._cursors)

    @property
    def delivered(self) -> list[int]:
        """The tokens of the answer so far, those of the streams that it continues too."""
        return self._begun + self.log.token_ids.tolist() if isinstance(self.log, DeltaLog) else []

    @property
    def text(self) -> str:
        """Everything generated so far."""
        return self.log.text

    def events(self, first: int, last: int) -> list[Event]:
        """What was appended from ``first`` to ``last``, both included, with what can be merged merged."""
        return self.log.events(self.id, first, last)

    def delta(self, first: int, last: int) -> Delta:
        """The deltas of a generation ``first`` to ``last``, both included, as one."""
        assert isinstance(self.log, DeltaLog)  # noqa: S101 (what a generation has)
        return self.log.delta(self.id, first, last)

    def frames(self, first: int, last: int) -> list[bytes]:
        """`events`, each as JSON text; cursors that keep pace with each other share one serialisation."""
        kept = self._frames
        if kept is not None and kept[0] == first and kept[1] == last:
            return kept[2]
        frames = [_encode(event) for event in self.log.events(self.id, first, last)]
        if sum(map(len, frames)) <= SHARED_BYTES:
            self._frames = (first, last, frames)
        return frames

    def cursor(
        self,
        after: int = -1,
        epoch: str | None = None,
        notify: Callable[[], None] | None = None,
        *,
        snapshot: bool = False,
    ) -> Cursor:
        """A new consumer that reads everything after the ``seq`` ``after``.

        ``notify`` is called on the loop whenever there is something to take. With ``snapshot`` a reading that the log
        does not reach back to any more begins at its floor. Raises `StreaminferError` where the reading could not be
        whole: another ``epoch``, an ``after`` that was never written, or one below the floor.
        """
        self.check(after, epoch)
        from_snapshot = after + 1 < self.floor
        if from_snapshot and not snapshot:
            raise StreaminferError(
                "expired",
                f"Stream {self.id} is kept from event {self.floor} on, and {after + 1} came before. Attach with "
                "snapshot to have the text so far and everything from there.",
                field="after",
            )
        cursor = Cursor(self, self.floor - 1 if from_snapshot else after, notify, from_snapshot=from_snapshot)
        self._cursors.add(cursor)
        if len(self._cursors) == 1:
            self.on_consumers(self)
        if self.paused:
            self.relieved(cursor)  # it may have read further than those that the stream waits for
        return cursor

    def check(self, after: int, epoch: str | None) -> None:
        """Refuse a place that is none of this log's, with a `StreaminferError`."""
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

    def release(self, cursor: Cursor) -> None:
        """Let a consumer go; releasing it twice changes nothing."""
        if cursor in self._cursors:
            self._cursors.discard(cursor)
            if not self._cursors:
                self._left_at = cursor.read_weight
                self.on_consumers(self)

    def status(self) -> StreamStatus:
        """The stream without its events."""
        log, terminal = self.log, self.terminal
        gaps = log.tokens - 1
        decode_ms = log.last_at_ms - log.first_at_ms if log.first_at_ms is not None else 0.0
        return StreamStatus(
            stream=self.id,
            epoch=self.epoch,
            model=self.model,
            version=self.version,
            state="open" if terminal is None else STATES[type(terminal)],
            floor=self.floor,
            head=self.head,
            consumers=self.consumers,
            detached=self.request.detached,
            age_ms=self._elapsed_ms(),
            tokens=log.tokens,
            paused=self.paused,
            client=self.client,
            arm=self.arm,
            began=self.began,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            queue_ms=self.queue_ms,
            ttft_ms=log.first_at_ms,
            duration_ms=None if terminal is None else terminal.timings.duration_ms,
            itl_mean_ms=round(decode_ms / gaps, 3) if gaps > 0 else None,
            itl_max_ms=round(log.longest_gap_ms, 2) if gaps > 0 else None,
            tokens_per_s=round(gaps / decode_ms * 1000, 2) if gaps > 0 and decode_ms > 0 else None,
            finish_reason=_reason(terminal),
            error=terminal.error if isinstance(terminal, Failed) else None,
            odd=list(self.odd),
        )

    def document(self, after: int = -1) -> StreamDocument:
        """What follows ``after`` so far, its deltas as one, from the floor on at most; ``text`` is all there is."""
        self.check(after, None)
        first = max(after + 1, self.floor)
        events = self.events(first, self.deltas - 1) if first < self.deltas else []
        if self.terminal is not None and after < self.terminal.seq:
            events.append(self.terminal)
        return StreamDocument(self.status(), self.text, events)


def _reason(terminal: Terminal | None) -> str | None:
    match terminal:
        case Completed():
            return terminal.finish_reason
        case Cancelled() | Incomplete():
            return terminal.reason
        case _:
            return None
