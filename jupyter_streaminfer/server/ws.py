"""``streaminfer/ws``: the native WebSocket. Tornado does the handshake; who parses the frames is decided then."""

from __future__ import annotations

from asyncio import Future, get_running_loop
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from jupyter_streaminfer.server.base import AUTH_RESOURCE, StreaminferMixin
from jupyter_streaminfer.server.connection import Connection
from jupyter_streaminfer.server.frames import MAX_FRAME_BYTES
from jupyter_streaminfer.server.heartbeat import Heartbeat
from jupyter_streaminfer.server.takeover import Handover, possible
from jupyter_streaminfer.server.tornado_frames import TornadoFrames


class WebSocketFrames(StreaminferMixin, WebSocketMixin, WebSocketHandler, JupyterHandler):
    """One connection's socket: authenticated, authorized, of this origin and within bounds before the upgrade."""

    _protocol: TornadoFrames
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
        self._protocol = TornadoFrames(self, standard.params, self)
        return self._protocol

    # The connection's life.

    async def open(self, *args: str, **kwargs: str) -> None:
        """Begin to serve requests."""
        super().open(*args, **kwargs)
        self.set_nodelay(True)
        handover = self._handover()
        wire = self._protocol if handover is None else handover.frames
        app, client = self.app, self.client
        connection = Connection(
            lambda: app.engine or self.engine,
            wire,
            app.writes,
            app.max_requests_per_connection,
            app.activity.touch,
            client,
        )
        self._connection = connection
        app.connections.add(connection)
        app.gate.enter(client)
        self._heartbeat = Heartbeat(wire, app.heartbeat_s, app.stalled_s, get_running_loop().time())
        self._heartbeat.start()
        if handover is not None:
            self._protocol.taken_over = True
            await self._complete(handover)

    def _handover(self) -> Handover | None:
        """The socket, ready to be handed to picows; None where it stays with Tornado."""
        app = self.app
        if not app.takes_over or not possible(self._protocol.stream):
            return None
        try:
            return Handover(self._protocol.stream, self)
        except Exception:
            self._stay_with_tornado()
            return None

    async def _complete(self, handover: Handover) -> None:
        try:
            await handover.complete(self._protocol.stream)
        except Exception:
            self._stay_with_tornado()  # this one is lost; its client connects again

    def _stay_with_tornado(self) -> None:
        self.app.takes_over = False
        self.app.log.warning(
            "picows could not take a connection over; all stay with Tornado from now on.", exc_info=True
        )

    # What is told of the frames.

    def on_text(self, frame: bytes) -> Future[None] | None:
        """See `Receiver.on_text`."""
        assert self._connection is not None  # noqa: S101 (frames come after `open`)
        return self._connection.receive(frame)

    def on_binary(self) -> None:
        """See `Receiver.on_binary`."""
        assert self._connection is not None  # noqa: S101 (frames come after `open`)
        self._connection.receive_binary()

    def on_message(self, message: str | bytes) -> None:
        """Nothing: frames come to the two above."""

    def on_end(self) -> None:
        """See `Receiver.on_end`."""
        self.on_close()

    def on_close(self) -> None:
        """End what the connection had under way; also called for one that was never opened."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._heartbeat.stop()
            self.app.connections.discard(connection)
            self.app.gate.leave(connection.client)
            connection.closed(dropped=self._heartbeat.dropped)
        super().on_close()


default_handlers = [(r"/streaminfer/ws", WebSocketFrames)]
