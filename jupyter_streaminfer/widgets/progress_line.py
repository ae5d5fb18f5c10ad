"""How a training goes, in words: one line of a terminal, or one line an epoch in a file."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping

INTERVAL_S = 0.1
SHOWN_FIGURES = 6


class ProgressLine:
    """Writes to the standard error stream: on a terminal over the same line."""

    def __init__(self) -> None:
        self._written = 0
        self._next_s = 0.0

    def show(self, line: str, *, whole: bool) -> None:
        """Show a line; ``whole``: an epoch, or everything, is over."""
        out = sys.stderr
        if not out.isatty():
            if whole:
                out.write(line + "\n")
                out.flush()
            return
        now = time.monotonic()
        if whole or now >= self._next_s:
            self._next_s = now + INTERVAL_S
            out.write("\r" + line.ljust(self._written))
            out.flush()
            self._written = len(line)

    def end(self) -> None:
        """Leave the line as it is."""
        if self._written:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._written = 0


def described(figures: Mapping[str, float]) -> list[str]:
    """The first figures as ``name value``."""
    return [f"{name} {number(value)}" for name, value in list(figures.items())[:SHOWN_FIGURES]]


def number(value: float) -> str:
    """To four digits."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def duration(seconds: float) -> str:
    """Such as ``12 s``, ``3 min 05 s``, ``2 h 07 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
