"""The server's end of the connection to a worker process, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from jupyter_streaminfer.workers.frames import FrameBuffer, FrameTooLongError
from jupyter_streaminfer.workers.turn import Turn


class Connection(asyncio.Protocol):
    """Tells each message as it comes, and once that there will be no more."""

    def __init__(self, on_message: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._buffer = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._turn: Turn[bytes] = Turn(self._write)
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            messages = self._buffer.feed(data)
        except FrameTooLongError:
            self.abort()
            return
        for message in messages:
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.lost = True
        self._on_lost()

    def send(self, data: bytes) -> None:
        """Send with this turn of the loop, without waiting; nothing once the connection is lost.

        What waits to be sent is bounded by the jobs that the engine admits: each is sent once.
        """
        self._turn.put(data)

    def _write(self, parts: list[bytes]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
