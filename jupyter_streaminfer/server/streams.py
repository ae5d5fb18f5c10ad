"""``streaminfer/api/streams``: list, read, cancel."""

from __future__ import annotations

import asyncio

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from jupyter_streaminfer.engine import Cursor, Stream
from jupyter_streaminfer.protocol import Error, StreaminferError
from jupyter_streaminfer.server.base import RestHandler
from jupyter_streaminfer.server.place import Place
from jupyter_streaminfer.server.sse import CONTENT_TYPE, EventStream

GONE = 410
"""The status where events that were asked for are not kept any more."""

_encode = msgspec.json.Encoder().encode


class _Span(msgspec.Struct):
    """Which events a frame has: one, or several that were merged."""

    seq: int
    last: int | None = None


_span = msgspec.json.Decoder(_Span).decode


class StreamsHandler(RestHandler):
    """Every stream that is kept, open or closed."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"streams": [StreamStatus, ...]}``, the oldest first."""
        self.reply({"streams": self.engine.streams()})


class StreamHandler(RestHandler):
    """One stream."""

    _cursor: Cursor | None = None
    _wake: asyncio.Event

    def status_of(self, error: StreaminferError) -> int:
        """The HTTP status of a refusal."""
        return GONE if error.code == "expired" else super().status_of(error)

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """What follows ``?starting_after=`` or ``Last-Event-ID``, else everything.

        A `StreamDocument` of what there is so far, or, for who accepts ``text/event-stream``, each event as it comes.
        """
        stream, place = self.engine.stream(id), Place.of(self)
        self.set_header("Vary", "Accept")
        if CONTENT_TYPE in self.request.headers.get("Accept", ""):
            await self._events(stream, place)
            return
        stream.check(place.start, place.epoch)
        if place.after is not None and place.start + 1 < stream.floor and not place.snapshot:
            raise StreaminferError(
                "expired",
                f"Stream {stream.id} is kept from event {stream.floor} on. Ask without starting_after, or with "
                "snapshot=true, for the text so far and every event that is kept.",
                field="starting_after",
            )
        self.reply(stream.document(place.start))

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        """Cancel it; a closed one stays as it is, and both can still be read."""
        self.engine.cancel(id)
        self.set_status(204)
        self.finish()

    def on_connection_close(self) -> None:
        """Be a consumer no longer, at once."""
        super().on_connection_close()
        if self._cursor is not None:
            self._cursor.close()
            self._wake.set()

    async def _events(self, stream: Stream, place: Place) -> None:
        if place.has_all_of(stream):
            # What tells an ``EventSource`` to come back no more.
            self.set_status(204)
            self.finish()
            return
        gate, client = self.app.gate, self.client
        gate.check(client)
        self._wake = asyncio.Event()
        self._cursor = stream.cursor(place.start, place.epoch, self._wake.set, snapshot=place.snapshot)
        gate.enter(client)
        try:
            await self._send(self._cursor)
        except StreamClosedError:
            # The client left; so has its cursor by now.
            return
        finally:
            self._cursor.close()
            gate.leave(client)
        await self.finish()

    async def _send(self, cursor: Cursor) -> None:
        """Events as they come. What comes while the socket takes the last ones is merged."""
        async with EventStream(self) as events:
            await events.send(b"event: attached\ndata: %b\n\n" % _encode(cursor.attached("")))
            while True:
                self._wake.clear()
                try:
                    taken = _events(cursor)
                except StreaminferError as error:
                    # It lagged until the log no longer had what it was to read next.
                    await events.send(b"event: error\ndata: %b\n\n" % _encode(Error.of(error.info)))
                    return
                # Also where there is nothing: this is where a client that left is noticed.
                await events.send(taken)
                if cursor.done:
                    return
                if not cursor.ready:
                    await self._wake.wait()


def _events(cursor: Cursor) -> bytes:
    """What a cursor has, each event with its place as its id; notices are in no log and have none."""
    frames = cursor.take_frames()
    epoch = cursor.stream.epoch.encode()
    parts = []
    for frame in frames:
        kind = frame[len(b'{"type":"') : frame.index(b'"', len(b'{"type":"'))]
        if kind == b"notice":
            parts.append(b"event: notice\ndata: %b\n\n" % frame)
            continue
        span = _span(frame)
        seq = span.seq if span.last is None else span.last
        parts.append(b"id: %b:%d\nevent: %b\ndata: %b\n\n" % (epoch, seq, kind, frame))
    return b"".join(parts)


default_handlers = [
    (r"/streaminfer/api/streams", StreamsHandler),
    (r"/streaminfer/api/streams/([^/]+)", StreamHandler),
]
