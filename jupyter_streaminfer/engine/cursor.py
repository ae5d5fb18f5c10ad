"""A cursor: one consumer's place in a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from jupyter_streaminfer.protocol import Attached, Event

if TYPE_CHECKING:
    from jupyter_streaminfer.engine.stream import Stream

_encode = msgspec.json.Encoder().encode


class Cursor:
    """Reads a stream from one place on, at its own pace; a laggard gets what it missed as one merged delta.

    It holds a number, not a queue: however far behind, it costs nothing. It counts as a consumer of the
    stream until it is closed. ``async with`` closes it; ``async for`` yields events up to the terminal one.
    """

    def __init__(self, stream: Stream, after: int, notify: Callable[[], None] | None) -> None:
        self.stream = stream
        self.position = after
        """The last ``seq`` taken; -1 for none."""
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

    def attached(self, id: str) -> Attached:
        """What a connection says first to whoever asked for this reading in request ``id``."""
        stream = self.stream
        return Attached(id, stream.id, stream.epoch, 0, stream.head, stream.closed, True)

    def take(self) -> list[Event]:
        """Everything new: at most one delta (merged where several were waiting) and the terminal event."""
        first, deltas = self.position + 1, self.stream.deltas
        events: list[Event] = []
        if first < deltas:
            events.append(self.stream.delta(first, deltas - 1))
        if self.stream.terminal is not None and first < self.stream.head:
            events.append(self.stream.terminal)
        self.position = self.stream.head - 1
        return events

    def take_frames(self) -> list[bytes]:
        """`take`, each event as JSON text."""
        first, deltas = self.position + 1, self.stream.deltas
        frames: list[bytes] = []
        if first < deltas:
            frames.append(self.stream.frame(first, deltas - 1))
        if self.stream.terminal is not None and first < self.stream.head:
            frames.append(_encode(self.stream.terminal))
        self.position = self.stream.head - 1
        return frames

    def close(self) -> None:
        """Be a consumer no longer."""
        self.stream.release(self)

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
