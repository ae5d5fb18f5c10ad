"""Handing a socket from Tornado, which did the handshake, to picows, on the same event loop.

picows' protocol begins with a handshake of its own, and its constructor is no public interface. So it is given an
upgrade request that it accepts, before the socket is touched: where anything of that fails, Tornado goes on as if
nothing had been.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
import sys
from typing import Any, cast

from tornado.iostream import IOStream, SSLIOStream

from jupyter_streaminfer.server.frames import MAX_FRAME_BYTES, Receiver

READ_BYTES = 256 * 1024
"""What one read of a socket takes at most, whatever room an earlier long frame has made."""
BUFFER_BYTES = 16 * 1024
"""What a connection's buffer for reading has at first."""

_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_log = logging.getLogger(f"{__name__}.picows")
_log.setLevel(logging.CRITICAL)  # it logs every connection; and what a client does wrong is told to the client


def available() -> bool:
    """Whether picows is there, and event loops of this system can take a socket over."""
    if sys.platform == "win32":
        return False
    return importlib.util.find_spec("picows") is not None


def possible(stream: IOStream) -> bool:
    """Whether this socket can be handed over: TCP, no TLS in this process, and the handshake's answer is written."""
    end = stream.socket
    tcp = end is not None and end.family in (socket.AF_INET, socket.AF_INET6)
    return tcp and not isinstance(stream, SSLIOStream) and not stream.closed() and not stream.writing()


class Handover(asyncio.BufferedProtocol):
    """One socket on its way, and from then on what stands between the event loop and picows.

    To the loop it is the socket's protocol, to picows its transport.
    """

    def __init__(self, stream: IOStream, receiver: Receiver) -> None:
        """Prepare everything; the stream goes on having the socket. Raises whatever picows, or its absence, raises."""
        from jupyter_streaminfer.server.picows_frames import PicowsFrames

        self._socket = stream.socket.dup()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answered = False
        """Whether what picows writes is meant: its answer to the upgrade is not, Tornado's has been sent."""
        self.frames = PicowsFrames(self, receiver)
        try:
            self._begin()
        except BaseException:
            self._socket.close()
            raise

    def _begin(self) -> None:
        """Have a parser of frames, with an empty buffer."""
        from picows import WSAutoPingStrategy, picows

        self._answered = self._large = self.frames.connected = False
        self._protocol: Any = cast(Any, picows).WSProtocol(
            None,  # host and port, of a client
            None,  # path, of a client
            False,  # whether it is a client
            lambda request: self.frames,
            _log,
            True,  # disconnect where `on_ws_frame` raises
            None,  # time for the handshake
            False,  # pings of its own: `heartbeat` has ours
            0,
            0,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # answers to pings: `PicowsFrames` bounds them
            MAX_FRAME_BYTES,
            None,  # headers, of a client
            BUFFER_BYTES,
        )
        self._protocol.connection_made(self)
        self._feed(_REQUEST)
        if not self.frames.connected:
            raise RuntimeError("picows did not accept the upgrade")
        self._answered = True

    async def complete(self, stream: IOStream) -> None:
        """Take the socket, and what was read of it already. Where this fails the connection is lost."""
        if stream._read_buffer_size:
            self._received = await stream.read_bytes(stream._read_buffer_size)  # it is there
        stream.set_close_callback(None)
        stream.close()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self, self._socket)
        except BaseException as error:
            self._socket.close()
            if self._transport is None:
                self._protocol.connection_lost(error)
            raise

    def _feed(self, data: bytes) -> None:
        """Have picows read this."""
        while data:
            buffer = self._protocol.get_buffer(-1)
            part = data[: len(buffer)]
            buffer[: len(part)] = part
            self._protocol.buffer_updated(len(part))
            data = data[len(part) :]

    # The event loop's protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self.frames.heard += len(self._received)
        self._feed(self._received)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        buffer: memoryview = self._protocol.get_buffer(sizehint)
        if len(buffer) > READ_BYTES:
            self._large = True
            return buffer[:READ_BYTES]
        return buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        frames = self.frames
        frames.heard += nbytes
        frames.tail = -1
        self._protocol.buffer_updated(nbytes)
        if self._large and not frames.tail and not frames.ending:
            self._begin()  # a long frame has made picows' buffer large, which is empty now, and would stay so

    def eof_received(self) -> bool:
        """See `asyncio.BufferedProtocol`: the transport closes itself."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._protocol.resume_writing()

    # picows' transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self._socket if name == "socket" else default

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """See `asyncio.WriteTransport`."""
        if self._transport is not None and self._answered:
            self._transport.write(data)

    def writelines(self, parts: list[bytes]) -> None:
        """See `asyncio.WriteTransport`."""
        self.write(b"".join(parts))

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """See `asyncio.BaseTransport`."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        if self._transport is not None:
            self._transport.abort()
