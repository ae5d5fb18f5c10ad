"""What commands write: answers on standard output, remarks on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns under a header, as wide as they have to be."""
    cells = [header, *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        say("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


def say(line: str) -> None:
    """A line of the answer."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def note(line: str) -> None:
    """A line beside the answer."""
    sys.stderr.write(f"{line}\n")


def fail(reason: str) -> int:
    """One line that says why; returns the exit status."""
    note(f"jupyter streaminfer: {' '.join(reason.split())}")
    return 1


def watched() -> bool:
    """Whether somebody sees a bar of progress."""
    return sys.stderr.isatty()


def amount(nbytes: float) -> str:
    """A number of bytes as people read it; ``-`` for none."""
    if not nbytes:
        return "-"
    unit = 0
    while nbytes >= 1024 and unit < len(UNITS) - 1:
        nbytes, unit = nbytes / 1024, unit + 1
    return f"{nbytes:.0f} {UNITS[unit]}" if unit == 0 or nbytes >= 100 else f"{nbytes:.1f} {UNITS[unit]}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
