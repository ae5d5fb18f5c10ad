"""A connection of the native WebSocket, as plain as can be: what it does wrong it does on purpose."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from urllib.parse import urlsplit

import msgspec
from live_server import Server
from websocket_frames import next_frame

from jupyter_streaminfer.protocol import ServerMessage

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
READ_BYTES = 256 * 1024
SMALL_BYTES = 4096
SMALL_SEGMENT = 536
"""The least that TCP promises: with it Linux gives the server's end a buffer as for a distant client, not 2.5 MB."""

decode = msgspec.json.Decoder(ServerMessage).decode


class RawSocket:
    """Frames in and out. Whoever stops calling `receive` stops reading, but for what asyncio buffers meanwhile."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._received = bytearray()

    @classmethod
    async def open(cls, server: Server, client: str, *, small: bool = False, source: str = "") -> RawSocket:
        """Connect as ``client``, from address ``source``; ``small``: with the least buffers. Raises `OSError`."""
        address = urlsplit(server.url)
        plain = socket.socket()
        try:
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if small:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
            if source:
                plain.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(plain, (address.hostname, address.port))
            reader, writer = await asyncio.open_connection(sock=plain)
        except BaseException:
            plain.close()
            raise
        self = cls(reader, writer)
        try:
            await self._shake_hands(f"{address.path}streaminfer/ws?client={client}", address.netloc, server.token)
        except BaseException:
            self.abort()
            raise
        return self

    async def _shake_hands(self, path: str, host: str, token: str) -> None:
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            f"Authorization: token {token}",
        ]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("closed before it was open") from error
        if b" 101 " not in head.splitlines()[0]:
            raise ConnectionRefusedError(head.decode(errors="replace"))

    def send(self, message: object) -> None:
        """Write one request; the socket takes it when it can."""
        self._frame(TEXT, msgspec.json.encode(message))

    async def receive(self) -> list[ServerMessage]:
        """All messages that have come, one at least; answers pings. Raises `ConnectionError` at its end."""
        messages: list[ServerMessage] = []
        while not messages:
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise ConnectionResetError("closed")
            self._received += data
            while (frame := next_frame(self._received)) is not None:
                opcode, payload = frame
                if opcode == TEXT:
                    messages.append(decode(payload))
                elif opcode == PING:
                    self._frame(PONG, payload)
                elif opcode == CLOSE:
                    raise ConnectionResetError("the server said goodbye")
        return messages

    def stop_reading(self) -> None:
        """Take nothing from the socket any more."""
        transport = self._writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    def say_goodbye(self) -> None:
        """Send a close frame."""
        self._frame(CLOSE, (1000).to_bytes(2))

    def abort(self, *, reset: bool = False) -> None:
        """Close the socket without a goodbye; ``reset``: with an RST instead of a FIN."""
        plain = self._writer.get_extra_info("socket")
        if reset and plain is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def _frame(self, opcode: int, payload: bytes) -> None:
        """One masked frame, as a client's must be; under a mask of zeros the payload stays what it is."""
        size = len(payload)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 2**16:
            head += b"\xfe" + size.to_bytes(2)
        else:
            head += b"\xff" + size.to_bytes(8)
        self._writer.write(head + bytes(4) + payload)
