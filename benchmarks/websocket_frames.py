"""A server's WebSocket frames, taken off the bytes that were received (RFC 6455)."""

from __future__ import annotations


def next_frame(received: bytearray) -> tuple[int, bytes] | None:
    """The opcode and payload of the next whole frame; a server's are neither masked nor, here, fragmented."""
    if len(received) < 2:
        return None
    length, start = received[1], 2
    if length >= 126:
        start = 4 if length == 126 else 10
        length = int.from_bytes(received[2:start])
    if len(received) < max(start, start + length):
        return None
    payload = bytes(received[start : start + length])
    opcode = received[0] & 15
    del received[: start + length]
    return opcode, payload
