"""What a page shows of a run: its texts, its values on lines of their own, and its progress as a bar.

The TypeScript twin is ``labextension/src/stream/values.ts``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_streaminfer.client.received import Received
from jupyter_streaminfer.protocol import Partial

VALUE_CHARACTERS = 2000
"""A longer value is cut."""


class Progress(msgspec.Struct, frozen=True):
    """How far a run is."""

    value: float
    """0 to 1."""
    message: str


def shown_text(stream: Received) -> str:
    """The whole text, each value that is not only progress on a line of its own."""
    if not stream.values and (stream.snapshot is None or not stream.snapshot.values):
        return stream.full_text
    parts = ["" if stream.snapshot is None else stream.snapshot.text]
    if stream.snapshot is not None and stream.snapshot.values:
        _add_line(parts, f"[{stream.snapshot.values} values are no longer kept]")
    for piece in stream.pieces:
        if not isinstance(piece, Partial):
            parts.append(piece.text)
        elif not is_only_progress(msgspec.json.decode(piece.value)):
            text = bytes(piece.value).decode()
            _add_line(parts, text if len(text) <= VALUE_CHARACTERS else text[:VALUE_CHARACTERS] + "…")
    return "".join(parts)


def progress_of(stream: Received) -> Progress | None:
    """The latest that it said of its progress, if anything."""
    for value in reversed(stream.values):
        if _tells_progress(value):
            message = value.get("message")
            return Progress(float(value["progress"]), message if isinstance(message, str) else "")
    return None


def is_only_progress(value: Any) -> bool:
    """Whether there is nothing in it but ``progress``, from 0 to 1, and a ``message``."""
    return _tells_progress(value) and not value.keys() - {"progress", "message"}


def _tells_progress(value: Any) -> bool:
    progress = value.get("progress") if isinstance(value, dict) else None
    return isinstance(progress, int | float) and not isinstance(progress, bool) and 0 <= progress <= 1


def _add_line(parts: list[str], line: str) -> None:
    before = next((part for part in reversed(parts) if part), "\n")
    parts.append(("" if before.endswith("\n") else "\n") + line + "\n")
