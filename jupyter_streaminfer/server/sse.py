"""Server-sent events: one response, written no faster than its client takes it, and watched."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream, StreamClosedError

from jupyter_streaminfer.server.heartbeat import Heartbeat, Pulse, pulse_of

if TYPE_CHECKING:
    from jupyter_streaminfer.server.base import RestHandler

CONTENT_TYPE = "text/event-stream"
PING = b": ping\n\n"
"""A comment, which readers pass over: it has no id, so it moves nobody's place."""


class EventStream:
    """The events of one response. ``async with`` sends its head, and stops watching its socket on leaving.

    A client that leaves, or that is dead, makes `send` raise `StreamClosedError`.
    """

    def __init__(self, handler: RestHandler) -> None:
        self._handler = handler
        self._socket = socket_of(handler)
        self._writing = asyncio.Lock()
        self._pings: set[asyncio.Task[None]] = set()
        app, now = handler.app, asyncio.get_running_loop().time()
        self._heartbeat = Heartbeat(self, app.heartbeat_s, app.stalled_s, now, answers=False)

    async def __aenter__(self) -> EventStream:
        self._handler.set_header("Content-Type", f"{CONTENT_TYPE}; charset=utf-8")
        self._handler.set_header("Cache-Control", "no-cache")
        # Reverse proxies are not to keep it until it is whole.
        self._handler.set_header("X-Accel-Buffering", "no")
        # Or small events would wait for the acknowledgement of those before.
        self._socket.set_nodelay(True)
        self._heartbeat.start()
        await self.send(b"")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heartbeat.stop()
        for ping in self._pings:
            ping.cancel()

    @property
    def dropped(self) -> bool:
        """Whether its client was found dead, or to take nothing."""
        return self._heartbeat.dropped

    async def send(self, events: bytes) -> None:
        """Write some events; done when the socket has taken them all."""
        async with self._writing:
            self._handler.write(events)
            await self._handler.flush()

    # What `heartbeat.Wire` asks for.

    def pulse(self) -> Pulse:
        """What passed over the socket so far."""
        return pulse_of(self._socket, 0)

    def ping(self) -> None:
        """Write a comment, unless something is being written anyway."""
        if not self._writing.locked():
            task = asyncio.create_task(self._ping())
            self._pings.add(task)
            task.add_done_callback(self._pings.discard)

    async def _ping(self) -> None:
        try:
            await self.send(PING)
        except StreamClosedError:
            # Whoever sends the events hears of it, too.
            return

    def abort(self) -> None:
        """Drop the socket."""
        self._socket.close()


def socket_of(handler: RestHandler) -> IOStream:
    """Tornado's end of the connection that a request came on."""
    return cast(HTTP1Connection, handler.request.connection).stream
