"""A client's end of the native WebSocket on a bare connection: it reads only what it is told to and answers nothing."""

import asyncio
import base64
import json
from typing import Any

from .conftest import TIMEOUT_S

KEY = base64.b64encode(bytes(16)).decode()
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """A frame as a client sends it, unless it is told otherwise; its mask is zeros, so the payload stays what it is."""
    first = bytes((fin << 7 | rsv << 4 | opcode,))
    return first + length_of(len(payload), masked=masked) + bytes(4 * masked) + payload


def length_of(size: int, *, masked: bool = True) -> bytes:
    """The length in a frame's head."""
    mask = masked << 7
    if size < 126:
        return bytes((mask | size,))
    if size < 2**16:
        return bytes((mask | 126,)) + size.to_bytes(2, "big")
    return bytes((mask | 127,)) + size.to_bytes(8, "big")


class RawSocket:
    """Frames are written and read one by one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.reader, self.writer = reader, writer
        self.head = head.decode()
        """Of the answer to the upgrade."""

    @classmethod
    async def open(
        cls, port: int, base_url: str, authorization: str, *, behind: bytes = b"", headers: str = ""
    ) -> "RawSocket":
        """``behind`` is sent together with the upgrade, before its answer; ``headers`` are further lines of it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
        upgrade = (
            f"GET {base_url}streaminfer/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive, Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
            f"Authorization: {authorization}\r\n{headers}\r\n"
        )
        writer.write(upgrade.encode() + behind)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)
        assert head.startswith(b"HTTP/1.1 101")
        return cls(reader, writer, head)

    def send(self, **message: Any) -> None:
        """A request."""
        self.writer.write(frame(TEXT, json.dumps(message).encode()))

    async def read_frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload; `asyncio.IncompleteReadError` at the end."""
        async with asyncio.timeout(TIMEOUT_S):
            first, length = await self.reader.readexactly(2)
            assert first & 0x80, "no fragments are sent"
            if length == 126:
                length = int.from_bytes(await self.reader.readexactly(2), "big")
            elif length == 127:
                length = int.from_bytes(await self.reader.readexactly(8), "big")
            return first & 0xF, await self.reader.readexactly(length)

    async def receive(self) -> dict[str, Any]:
        """The next text frame's message."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == TEXT:
                message: dict[str, Any] = json.loads(payload)
                return message

    async def end(self) -> int | None:
        """Read to the end of the connection; the code of the close frame, if there was one."""
        code = None
        try:
            while True:
                opcode, payload = await self.read_frame()
                if opcode == CLOSE:
                    code = int.from_bytes(payload[:2], "big")
        except (asyncio.IncompleteReadError, ConnectionError):
            return code
