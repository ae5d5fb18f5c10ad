"""Tornado's own frames: always there, also where TLS ends in this process."""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from jupyter_streaminfer.server.frames import Receiver, text_frames
from jupyter_streaminfer.server.heartbeat import Pulse, pulse_of

CHUNK_BYTES = 64 * 1024
"""What is taken from the stream at once at most."""

_TEXT, _BINARY, _PING = 0x1, 0x2, 0x9


class TornadoFrames(WebSocketProtocol13):
    """Tornado's protocol, with text frames as bytes both ways. A `connection.Transport` and a `heartbeat.Wire`.

    Tornado decodes a text frame itself and drops the connection where it is no UTF-8; here the frame goes on as it
    is. Frames that are ready together are written together, where `write_message` makes a task for each; what has
    arrived is read together, where Tornado asks the stream three or four times for a frame.
    """

    def __init__(self, handler: WebSocketHandler, params: Any, receiver: Receiver) -> None:
        """``params`` are those that Tornado made for the handler."""
        super().__init__(handler, False, params)
        self.taken_over = False
        """Whether another parser has the socket: then this one reads nothing."""
        self._receiver = receiver
        self._chunk = b""
        """What was read last, parsed up to ``_parsed``."""
        self._parsed = 0

    async def _receive_frame_loop(self) -> None:
        if not self.taken_over:
            await super()._receive_frame_loop()

    async def _read_bytes(self, n: int) -> bytes:
        while (missing := self._parsed + n - len(self._chunk)) > 0:
            rest = self._chunk[self._parsed :]
            long = missing > CHUNK_BYTES
            self._chunk = rest + await self.stream.read_bytes(missing if long else CHUNK_BYTES, partial=not long)
            self._parsed = 0
        data = self._chunk[self._parsed : self._parsed + n]
        self._parsed += n
        self._wire_bytes_in += n
        if self._parsed == len(self._chunk):
            self._chunk, self._parsed = b"", 0  # a long frame is not kept
        return data

    def _handle_message(self, opcode: int, data: bytes) -> Any:
        if opcode == _TEXT and not self.client_terminated:
            return self._run_callback(self._receiver.on_text, data)
        if opcode == _BINARY and not self.client_terminated:
            return self._run_callback(self._receiver.on_binary)
        return super()._handle_message(opcode, data)

    def send(self, texts: list[bytes]) -> asyncio.Future[None] | None:
        """See `Transport.send`; `StreamClosedError` is an `OSError`."""
        if self.server_terminated:
            raise ConnectionError("the connection is closing")
        written = self.stream.write(text_frames(texts))
        return written if self.stream.writing() else None

    def ping(self) -> None:
        """See `Wire.ping`; nothing on a connection that is closing."""
        if not self.is_closing():
            try:
                self._write_frame(True, _PING, b"")
            except StreamClosedError:
                self.abort()

    def pulse(self) -> Pulse:
        """See `Wire.pulse`."""
        return pulse_of(self.stream, self._wire_bytes_in + len(self._chunk) - self._parsed)

    def abort(self) -> None:
        """Drop the socket."""
        self.stream.close()
