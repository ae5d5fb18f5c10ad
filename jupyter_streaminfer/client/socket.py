"""One WebSocket to a server, from its handshake to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, WebSocketError, websocket_connect

from jupyter_streaminfer.client.address import CONNECT_S, Address
from jupyter_streaminfer.protocol import Ping, ServerMessage

MAX_FRAME_BYTES = 256 * 2**20
"""A stream of a million tokens, read again as one merged delta, is about 40 MB of JSON."""
PING_S = 15.0
"""A server that said nothing for so long is asked whether it is there; after twice as long it counts as gone.

Any frame is a sign of life, so a server whose answers are slow to arrive is not taken for a dead one.
"""

_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)
_PING = msgspec.json.encode(Ping("heartbeat"))


class Socket:
    """Frames in and out, and a heartbeat. Used on the I/O loop only."""

    def __init__(
        self,
        address: Address,
        on_message: Callable[[Socket, ServerMessage], None],
        on_unknown: Callable[[Socket, Exception], None],
        on_end: Callable[[Socket], None],
    ) -> None:
        """``on_unknown`` is told of a frame that this version does not know, ``on_end`` of an end that is not ours."""
        self._address = address
        self._on_message = on_message
        self._on_unknown = on_unknown
        self._on_end = on_end
        self._connection: WebSocketClientConnection | None = None
        self._heart: asyncio.Task[None] | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._began = self._heard = 0.0
        """When it was connected and when the last frame came, by the loop's clock."""
        self.ended = False

    @property
    def held_s(self) -> float:
        """For how long the server was heard from."""
        return self._heard - self._began

    async def connect(self) -> None:
        """Shake hands; raises `StreaminferError` where the server does not."""
        try:
            self._connection = await websocket_connect(
                self._address.request("ws", websocket=True, timeout_s=CONNECT_S),
                on_message_callback=self._receive,
                max_message_size=MAX_FRAME_BYTES,
                resolver=self._address.resolver(),
            )
        except (HTTPClientError, OSError, WebSocketError) as error:
            self.ended = True
            raise self._address.refusal(error) from None
        if self.ended:
            raise self._address.refusal(ConnectionResetError("it closed the connection at once"))
        self._began = self._heard = asyncio.get_running_loop().time()
        self._heart = asyncio.create_task(self._beat())

    async def write(self, text: bytes) -> None:
        """Send a text frame; done when the operating system has it. Raises `OSError` once the socket has ended."""
        if self._connection is None or self.ended:
            raise ConnectionResetError("the connection has ended")
        try:
            await self._connection.write_message(text)
        except (WebSocketClosedError, StreamClosedError) as error:
            raise ConnectionResetError("the connection has ended") from error

    def post(self, text: bytes) -> None:
        """Send a text frame and wait for nothing; a socket that has ended sends it nowhere."""
        task = asyncio.create_task(self.write(text))
        self._writes.add(task)
        task.add_done_callback(self._posted)

    def _posted(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            # Read, so that asyncio does not report it as lost.
            task.exception()

    def close(self) -> None:
        """Say goodbye without waiting for an answer; nothing is told from now on."""
        self.ended = True
        if self._heart is not None and self._heart is not asyncio.current_task():
            self._heart.cancel()
        if self._connection is not None:
            self._connection.close(1000)

    def _receive(self, frame: str | bytes | None) -> None:
        if self.ended:
            return
        if frame is None:
            self._end()
            return
        self._heard = asyncio.get_running_loop().time()
        try:
            message = _decoder.decode(frame)
        except msgspec.DecodeError as error:
            self._on_unknown(self, error)
            return
        self._on_message(self, message)

    def _end(self) -> None:
        self.close()
        self._on_end(self)

    async def _beat(self) -> None:
        clock = asyncio.get_running_loop().time
        while (quiet_s := clock() - self._heard) < 2 * PING_S:
            if quiet_s < PING_S:
                await asyncio.sleep(PING_S - quiet_s)
            else:
                self.post(_PING)
                await asyncio.sleep(2 * PING_S - quiet_s)
        self._end()
