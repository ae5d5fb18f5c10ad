"""Messages on a byte stream: four bytes of length, then the message."""

from __future__ import annotations

from struct import Struct

HEADER = Struct(">I")
MAX_FRAME_BYTES = 64 * 2**20
"""No message is longer; a request has 4 MiB of JSON at most, which as msgpack is 10 MiB at most."""


class FrameTooLongError(Exception):
    """A message that would not, or ought not to, be sent."""


def frame(message: bytes) -> bytes:
    """The message as it is sent; `FrameTooLongError` where it is longer than ``MAX_FRAME_BYTES``."""
    if len(message) > MAX_FRAME_BYTES:
        raise FrameTooLongError(f"a message of {len(message)} bytes; {MAX_FRAME_BYTES} is the most")
    return HEADER.pack(len(message)) + message


class FrameBuffer:
    """What was received and is no whole message yet: one message at most, and what came with its end."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes; `FrameTooLongError` before the first byte of one too long is kept."""
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        begin = 0
        while len(buffer) - begin >= HEADER.size:
            (length,) = HEADER.unpack_from(buffer, begin)
            if length > MAX_FRAME_BYTES:
                raise FrameTooLongError(f"a message of {length} bytes; {MAX_FRAME_BYTES} is the most")
            end = begin + HEADER.size + length
            if len(buffer) < end:
                break
            messages.append(bytes(buffer[begin + HEADER.size : end]))
            begin = end
        del buffer[:begin]
        return messages
