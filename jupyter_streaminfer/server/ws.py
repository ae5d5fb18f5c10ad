"""``streaminfer/ws``: the native WebSocket, on Tornado's parser."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Awaitable
from typing import Any, cast

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from jupyter_streaminfer.server.base import AUTH_RESOURCE, StreaminferMixin
from jupyter_streaminfer.server.connection import Connection
from jupyter_streaminfer.server.heartbeat import Heartbeat, Pulse, pulse_of

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""A longer frame ends the connection (1009); one between this and the protocol's limit costs only its own request."""

_TEXT = 0x1
_FIN = 0x80


class TextProtocol(WebSocketProtocol13):
    """Tornado's protocol, with text frames as bytes both ways.

    Tornado decodes a text frame itself and drops the connection where it is no UTF-8; here the frame
    goes on as it is, and the JSON decoder refuses that one request. Frames that are ready together are
    written together: one system call for all of them, where `write_message` makes a task for each.
    """

    def _handle_message(self, opcode: int, data: bytes) -> Any:
        if opcode == _TEXT and not self.client_terminated:
            self._message_bytes_in += len(data)
            return self._run_callback(cast("WebSocketFrames", self.handler).on_text, data)
        return super()._handle_message(opcode, data)

    def write_texts(self, texts: list[bytes]) -> Awaitable[None]:
        """Write text frames; done when the socket has taken them all. Raises `StreamClosedError`, an `OSError`."""
        if self.server_terminated:
            raise ConnectionError("the connection is closing")
        parts: list[bytes] = []
        for text in texts:
            length = len(text)
            if length < 126:
                parts.append(bytes((_FIN | _TEXT, length)))
            elif length < 2**16:
                parts.append(bytes((_FIN | _TEXT, 126)) + length.to_bytes(2, "big"))
            else:
                parts.append(bytes((_FIN | _TEXT, 127)) + length.to_bytes(8, "big"))
            parts.append(text)
        return self.stream.write(b"".join(parts))

    def pulse(self) -> Pulse:
        """What passed over the socket so far."""
        return pulse_of(self.stream, self._wire_bytes_in)


class WebSocketFrames(StreaminferMixin, WebSocketMixin, WebSocketHandler, JupyterHandler):
    """One connection's socket: authenticated, authorized, of this origin and within bounds before the upgrade."""

    _protocol: TextProtocol
    _connection: Connection | None = None
    _heartbeat: Heartbeat

    async def pre_get(self) -> None:
        """Ask the authorizer."""
        user = self.current_user
        if user is None:
            raise HTTPError(403)
        if not await ensure_async(self.authorizer.is_authorized(self, user, "execute", AUTH_RESOURCE)):
            raise HTTPError(403)

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Upgrade."""
        await self.pre_get()
        self.app.gate.check(self.client)
        await super().get(*args, **kwargs)

    # Jupyter's and Tornado's own pings are off: neither tells a slow client from a dead one, and each takes the
    # other's milliseconds for seconds.

    @property
    def ping_interval(self) -> float:
        """None."""
        return 0.0

    @property
    def ping_timeout(self) -> float:
        """None."""
        return 0.0

    @property
    def max_message_size(self) -> int:
        """Bytes of a frame."""
        return MAX_FRAME_BYTES

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        """Our variant of the protocol."""
        standard = super().get_websocket_protocol()
        if not isinstance(standard, WebSocketProtocol13):
            return standard
        self._protocol = TextProtocol(self, False, standard.params)
        return self._protocol

    # The connection's life.

    def open(self, *args: str, **kwargs: str) -> None:
        """Begin to serve requests."""
        super().open(*args, **kwargs)
        self.set_nodelay(True)
        app, client = self.app, self.client
        connection = Connection(lambda: self.engine, self, app.max_requests_per_connection, app.activity.touch, client)
        self._connection = connection
        app.connections.add(connection)
        app.gate.enter(client)
        self._heartbeat = Heartbeat(self, app.heartbeat_s, app.stalled_s, get_running_loop().time())
        self._heartbeat.start()

    def on_text(self, frame: bytes) -> Awaitable[object] | None:
        """Pass a text frame on."""
        assert self._connection is not None  # noqa: S101 (frames come after `open`)
        return self._connection.receive(frame)

    def on_message(self, message: str | bytes) -> None:
        """Pass a binary frame on; text comes to `on_text`."""
        assert self._connection is not None  # noqa: S101 (frames come after `open`)
        self._connection.receive_binary()

    def on_close(self) -> None:
        """End what the connection had under way; also called for one that was never opened."""
        if self._connection is not None:
            self._heartbeat.stop()
            self.app.connections.discard(self._connection)
            self.app.gate.leave(self._connection.client)
            self._connection.closed()
        super().on_close()

    # What `connection.Transport` and `heartbeat.Wire` ask for; `close` and `ping` are Tornado's own.

    def pulse(self) -> Pulse:
        """What passed over the socket so far."""
        return self._protocol.pulse()

    def send(self, frames: list[bytes]) -> Awaitable[None]:
        """Write text frames."""
        return self._protocol.write_texts(frames)

    def abort(self) -> None:
        """Drop the socket."""
        self._protocol.stream.close()


default_handlers = [(r"/streaminfer/ws", WebSocketFrames)]
