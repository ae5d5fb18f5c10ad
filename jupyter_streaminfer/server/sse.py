"""Server-sent events: one response, written no faster than its client takes it, and watched."""

from __future__ import annotations

import asyncio
import contextlib
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
DIRECT_BYTES = 64 * 1024
"""What the system's socket is offered at once; Tornado gives it more than that piece by piece."""


class EventStream:
    """The events of one response. ``async with`` sends its head, and stops watching its socket on leaving.

    Behind the head Tornado's handler and HTTP connection have no part in it: an event is framed here and goes to the
    socket, with no future and no task where the socket takes it at once. Nothing is compressed, which would cost each
    event more than the rest of it, and each response a compressor's memory.

    A client that leaves, or that is dead, makes `send` and `push` raise `StreamClosedError`.
    """

    def __init__(self, handler: RestHandler) -> None:
        self._handler = handler
        self._socket = socket_of(handler)
        self._plain = type(self._socket) is IOStream
        """Whether what the system's socket is given goes out as it is: no TLS in this process."""
        self._direct = 0
        """Bytes that the socket took without Tornado's knowing."""
        self._chunked: bool | None = None
        """Whether events go out as chunks; None until the head is written, which nothing may overtake."""
        app, now = handler.app, asyncio.get_running_loop().time()
        self._heartbeat = Heartbeat(self, app.heartbeat_s, app.stalled_s, now, answers=False)

    async def __aenter__(self) -> EventStream:
        self._handler.set_header("Content-Type", f"{CONTENT_TYPE}; charset=utf-8")
        self._handler.set_header("Cache-Control", "no-cache")
        # Reverse proxies are not to keep it until it is whole.
        self._handler.set_header("X-Accel-Buffering", "no")
        self._handler._transforms = []
        # Or small events would wait for the acknowledgement of those before.
        self._socket.set_nodelay(True)
        self._heartbeat.start()
        await self._handler.flush()
        # What a client of HTTP/1.0 is sent has no chunks.
        self._chunked = cast(HTTP1Connection, self._handler.request.connection)._chunking_output
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heartbeat.stop()

    @property
    def dropped(self) -> bool:
        """Whether its client was found dead, or to take nothing."""
        return self._heartbeat.dropped

    async def send(self, events: bytes) -> None:
        """Write some events; done when the socket has taken them all."""
        full = self.push(events)
        if full is not None:
            await full

    def push(self, events: bytes) -> asyncio.Future[None] | None:
        """The same at once: None where the socket took them all; else what is done when it has."""
        stream = self._socket
        if stream.closed():
            raise StreamClosedError(stream.error)
        if not events:
            return None
        if self._chunked:
            events = b"%x\r\n%b\r\n" % (len(events), events)
        if self._plain and len(events) <= DIRECT_BYTES and not stream.writing():
            taken = self._offer(events)
            if taken == len(events):
                return None
            events = events[taken:]
        full = stream.write(events)
        if stream.closed():
            raise StreamClosedError(stream.error)
        return full if stream.writing() else None

    def _offer(self, events: bytes) -> int:
        """How many of the bytes the socket takes at once."""
        try:
            taken = self._socket.socket.send(events)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._socket.close(exc_info=error)
            raise StreamClosedError(error) from None
        self._direct += taken
        return taken

    # What `heartbeat.Wire` asks for.

    def pulse(self) -> Pulse:
        """What passed over the socket so far."""
        pulse = pulse_of(self._socket, 0)
        return pulse._replace(taken=pulse.taken + self._direct, written=pulse.written + self._direct)

    def ping(self) -> None:
        """Write a comment."""
        if self._chunked is not None:
            # Whoever sends the events hears of it, too, where nobody is there any more.
            with contextlib.suppress(StreamClosedError):
                self.push(PING)

    def abort(self) -> None:
        """Drop the socket."""
        self._socket.close()


def socket_of(handler: RestHandler) -> IOStream:
    """Tornado's end of the connection that a request came on."""
    return cast(HTTP1Connection, handler.request.connection).stream
