"""A cursor: one consumer's place in a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from jupyter_streaminfer.protocol import Attached, Event, Notice, StreaminferError

if TYPE_CHECKING:
    from jupyter_streaminfer.engine.stream import Stream

FRAME_DELTAS = 512
"""Deltas of one frame at most: a link that is cut again and again gets on by whole frames."""
MAX_NOTICES = 8
"""Notices that wait to be taken; a new one takes the oldest's place."""

_encode = msgspec.json.Encoder().encode


class Cursor:
    """Reads a stream from one place on, at its own pace; a laggard gets what it missed as one merged delta.

    It holds a number, not a queue: however far behind, it costs nothing. It counts as a consumer of the
    stream until it is closed. ``async with`` closes it; ``async for`` yields events up to the terminal one.
    """

    def __init__(self, stream: Stream, after: int, notify: Callable[[], None] | None, *, from_snapshot: bool) -> None:
        self.stream = stream
        self.position = after
        """The last ``seq`` taken; -1 for none."""
        self.read_weight = stream.log.weight_before(after + 1)
        """How many tokens the consumer has dealt with: taken, or acknowledged where it does that."""
        self.warned = False
        """Whether it was told that it lags."""
        self._from_snapshot = from_snapshot
        self._acknowledges = False
        self._notices: list[Notice] = []
        self._wake = asyncio.Event()
        self.notify: Callable[[], None] = notify or self._wake.set

    @property
    def done(self) -> bool:
        """Whether the terminal event was taken: nothing will ever follow."""
        return self.stream.closed and self.position + 1 >= self.stream.head

    @property
    def ready(self) -> bool:
        """Whether there is something to take."""
        return self.position + 1 < self.stream.head

    @property
    def lag(self) -> int:
        """Tokens that the consumer has yet to deal with."""
        return self.stream.log.weight - self.read_weight

    def attached(self, id: str) -> Attached:
        """What a connection says first to whoever asked for this reading in request ``id``."""
        stream = self.stream
        snapshot = stream.log.snapshot() if self._from_snapshot else None
        return Attached(
            id, stream.id, stream.epoch, stream.floor, stream.head, stream.closed, not self._from_snapshot, snapshot
        )

    def notice(self, notice: Notice) -> None:
        """Have the consumer told of something that is in no log."""
        self._notices = [*self._notices[-MAX_NOTICES + 1 :], notice]
        self.notify()

    def take_notices(self) -> list[Notice]:
        """What the consumer is to be told besides events."""
        notices, self._notices = self._notices, []
        return notices

    def take(self) -> list[Event]:
        """Everything new: deltas that waited merged into one, but for what a run yielded between them; and the end.

        Raises `StreaminferError` ``expired`` for a laggard for whom the log no longer reaches back far enough.
        """
        first, deltas = self.position + 1, self.stream.deltas
        events: list[Event] = []
        if first < deltas:
            self._refuse_below_floor()
            events += self.stream.events(first, deltas - 1)
        if self.stream.terminal is not None and first < self.stream.head:
            events.append(self.stream.terminal)
        self._taken()
        return events

    def take_frames(self) -> list[bytes]:
        """`take_notices` and `take`, each as JSON text; a long delta in several."""
        frames = [_encode(notice) for notice in self.take_notices()] if self._notices else []
        first, deltas = self.position + 1, self.stream.deltas
        if first < deltas:
            self._refuse_below_floor()
            for begin in range(first, deltas, FRAME_DELTAS):
                frames += self.stream.frames(begin, min(begin + FRAME_DELTAS, deltas) - 1)
        if self.stream.terminal is not None and first < self.stream.head:
            frames.append(_encode(self.stream.terminal))
        self._taken()
        return frames

    def acknowledge(self, seq: int) -> None:
        """Count what was read up to ``seq``; from now on only what is acknowledged counts."""
        self._acknowledges = True
        self._dealt_with(self.stream.log.weight_before(min(seq, self.position) + 1))

    def close(self) -> None:
        """Be a consumer no longer."""
        self.stream.release(self)

    def _refuse_below_floor(self) -> None:
        if self.position + 1 < self.stream.floor:
            raise StreaminferError(
                "expired",
                f"You lag too far behind: stream {self.stream.id} is kept from event {self.stream.floor} on. Attach "
                "again with snapshot to have the text so far and everything from there.",
                field="after",
            )

    def _taken(self) -> None:
        self.position = self.stream.head - 1
        if not self._acknowledges:
            self._dealt_with(self.stream.log.weight)

    def _dealt_with(self, weight: int) -> None:
        if weight > self.read_weight:
            self.read_weight = weight
            self.stream.relieved(self)

    async def __aenter__(self) -> Cursor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            self._wake.clear()
            for event in self.take():
                yield event
            if self.done:
                return
            if not self.ready:
                await self._wake.wait()
