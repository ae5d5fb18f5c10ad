"""A client of the native WebSocket: all requests on one connection, read with as little work as can be.

The client computes on the same cores as the server under test: it parses frames itself, takes no lock and
starts no task for a token.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import msgspec
from websocket_frames import next_frame
from workload import Request

from jupyter_streaminfer.protocol import TERMINAL, Attached, Completed, Delta, Notice, Pong, ServerMessage

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10

ODD = ("repeating", "stalled", "long")
"""What is said of streams whose weights mean nothing: they go on."""

decode = msgspec.json.Decoder(ServerMessage).decode


class WebSocketDoor(asyncio.Protocol):
    """``note(index, token_ids, at)`` is called for tokens, ``ended(index, reason)`` once a request; None: in order."""

    def __init__(
        self,
        url: str,
        token: str,
        model: str,
        note: Callable[[int, list[int], float], object],
        ended: Callable[[int, str | None], None],
    ) -> None:
        self.address = urlsplit(url)
        self.token = token
        self.model = model
        self.note = note
        self.ended = ended
        self.streams: dict[str, int] = {}
        self.received = bytearray()
        self.transport: asyncio.Transport
        self.upgraded: asyncio.Future[None]

    async def open(self) -> None:
        """Connect."""
        loop = asyncio.get_running_loop()
        self.upgraded = loop.create_future()
        await loop.create_connection(lambda: self, self.address.hostname or "", self.address.port or 80)
        await self.upgraded

    def close(self) -> None:
        self.transport.close()

    def start(self, index: int, request: Request) -> None:
        """Ask for a generation."""
        message = {
            "type": "generate",
            "id": str(index),
            "model": self.model,
            "token_ids": request.token_ids,
            "max_tokens": request.max_tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        self._send(TEXT, msgspec.json.encode(message))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one only in what it does
        lines = [
            f"GET {self.address.path}streaminfer/ws HTTP/1.1",
            f"Host: {self.address.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            f"Authorization: token {self.token}",
        ]
        transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        at = time.perf_counter()
        self.received += data
        if not self.upgraded.done():
            head, found, rest = self.received.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head.splitlines()[0]:
                self.upgraded.set_exception(ConnectionError(head.decode()))
                return
            self.received = rest
            self.upgraded.set_result(None)
        while (frame := next_frame(self.received)) is not None:
            opcode, payload = frame
            if opcode == TEXT:
                self._message(payload, at)
            elif opcode == PING:
                self._send(PONG, payload)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.upgraded.done():
            self.upgraded.set_exception(ConnectionError("closed before it was open"))
        for index in self.streams.values():
            self.ended(index, f"the connection was closed: {error}")

    def _message(self, payload: bytes, at: float) -> None:
        message = decode(payload)
        if isinstance(message, Delta):
            self.note(self.streams[message.stream], message.token_ids, at)
        elif isinstance(message, Attached):
            self.streams[message.stream] = int(message.id)
        elif isinstance(message, TERMINAL):
            index = self.streams.pop(message.stream)
            self.ended(index, None if isinstance(message, Completed) else str(message))
        elif not isinstance(message, Pong) and not (isinstance(message, Notice) and message.code in ODD):
            self.ended(int(getattr(message, "id", None) or 0), str(message))

    def _send(self, opcode: int, payload: bytes) -> None:
        """One masked frame, as a client's must be; under a mask of zeros the payload stays what it is."""
        size = len(payload)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 2**16:
            head += b"\xfe" + size.to_bytes(2)
        else:
            head += b"\xff" + size.to_bytes(8)
        self.transport.write(head + bytes(4) + payload)
