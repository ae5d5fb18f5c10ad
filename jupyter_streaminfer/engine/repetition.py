"""Whether the end of a sequence of tokens is one piece over and over."""

from __future__ import annotations

from array import array

MAX_PIECE = 64
"""Tokens of the piece at most."""
MIN_TIMES = 4
MIN_TOKENS = 48
"""How often the piece has to come, and how many tokens that has to be."""
TAIL = MAX_PIECE * MIN_TIMES
"""How many of the last tokens are looked at."""
_KEY = MIN_TOKENS - MIN_TOKENS // MIN_TIMES
"""Tokens that every repetition still has when its first piece is taken away."""


def repeated(tokens: array[int]) -> int:
    """The length of the shortest piece that the last tokens are over and over, and often enough; 0 for none.

    A piece has to come `MIN_TIMES` at least, and as often as `MIN_TOKENS` takes. Only the last `TAIL` tokens are
    looked at, so any length costs the same: at most one comparison of bytes for each piece that could be.
    """
    tail = tokens[-TAIL:]
    if len(tail) < MIN_TOKENS:
        return 0
    size, text = tail.itemsize, tail.tobytes()
    key = text[-_KEY * size :]
    for piece in range(1, len(tail) // MIN_TIMES + 1):
        # One piece over and over is the same as itself moved by one piece; its end shows fast that it is not.
        moved = len(text) - piece * size
        if not text.endswith(key, 0, moved):
            continue
        begin = len(text) - max(MIN_TIMES, -(-MIN_TOKENS // piece)) * piece * size
        if begin >= 0 and text[begin:moved] == text[begin + piece * size :]:
            return piece
    return 0
