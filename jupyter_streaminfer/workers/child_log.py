"""What a worker process writes to its standard output and error, brought into the server's log."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import IO

log = logging.getLogger("jupyter_streaminfer.worker")

MAX_LINE_BYTES = 2000
"""Of a longer line the rest is left out."""
MAX_LINES_PER_S = 100
"""Beyond that lines are counted only."""
TAIL_LINES = 8
TAIL_CHARACTERS = 200
"""Of each of the last lines, where they are cited."""


class ChildLog:
    """Reads on a thread of its own; the last lines are kept, to say what a process died of."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def tail(self) -> str:
        """The last lines as one, the newest last; empty where nothing was written."""
        return " | ".join(self._tail.copy())

    def read(self, pipe: IO[bytes]) -> None:
        """Log line by line until the end, and close the pipe."""
        with pipe:
            while line := pipe.readline(MAX_LINE_BYTES):
                part, cut = line, False
                while not part.endswith(b"\n") and (part := pipe.readline(MAX_LINE_BYTES)):
                    cut = cut or part != b"\n"
                self._take(_printable(line) + (" ..." if cut else ""))
        self._say_left_out()

    def _take(self, line: str) -> None:
        if not line:
            return
        self._tail.append(line[:TAIL_CHARACTERS])
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
            self._say_left_out()
        self._lines += 1
        if self._lines > MAX_LINES_PER_S:
            self._left_out += 1
        else:
            log.warning("%s: %s", self._model, line)

    def _say_left_out(self) -> None:
        if self._left_out:
            log.warning("%s: (%d lines more were left out)", self._model, self._left_out)
            self._left_out = 0


def _printable(line: bytes) -> str:
    """Without what could steer a terminal or forge another line."""
    text = line.decode("utf-8", "replace").rstrip()
    return "".join(character if character.isprintable() or character == "\t" else "?" for character in text)
