"""What both parsers of WebSocket frames share: limits, the bytes of a text frame, and who is told of what they read."""

from __future__ import annotations

import asyncio
from typing import Protocol

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""A longer frame or message ends the connection (1009); one between this and the protocol's limit costs only its own
request."""
CLOSE_S = 5.0
"""How long the other end has to answer a close frame, and the socket to take what was written before it."""

_FIN_TEXT = 0x81


class Receiver(Protocol):
    """Whose connection it is. Text is bytes: where it is no UTF-8, the JSON decoder refuses that one request."""

    def on_text(self, frame: bytes) -> asyncio.Future[None] | None:
        """Take a text frame; no further one comes before what is returned is done."""

    def on_binary(self) -> None:
        """A binary frame came."""

    def on_end(self) -> None:
        """The socket is gone."""


def text_frames(texts: list[bytes]) -> bytes:
    """Unmasked text frames, as a server sends them, in one piece: one system call for all of them."""
    parts: list[bytes] = []
    for text in texts:
        length = len(text)
        if length < 126:
            parts.append(bytes((_FIN_TEXT, length)))
        elif length < 2**16:
            parts.append(bytes((_FIN_TEXT, 126)) + length.to_bytes(2, "big"))
        else:
            parts.append(bytes((_FIN_TEXT, 127)) + length.to_bytes(8, "big"))
        parts.append(text)
    return b"".join(parts)


def frame_size(length: int) -> int:
    """Bytes on the wire of an unmasked frame whose payload has so many."""
    return length + (2 if length < 126 else 4 if length < 2**16 else 10)
