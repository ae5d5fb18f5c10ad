"""What a page is told of a stream, as widgets/snapshot.py writes it."""

from __future__ import annotations

from typing import Any


def snapshot(**changes: Any) -> dict[str, Any]:
    """A stream of `demo` that has just begun, but for the ``changes``."""
    given = {
        "stream": "st_1",
        "epoch": "e",
        "request": {"type": "generate", "id": "g", "model": "demo", "prompt": ""},
        "begun": None,
        "text": "",
        "state": "streaming",
        "figures": None,
        "error": None,
        "progress": None,
        "resumable": False,
        "tokens": None,
    }
    return given | changes


def widget(**changes: Any) -> dict[str, Any]:
    """The traits of a `TokenStream` that a kernel shows by itself, as the page reaches no server."""
    return snapshot(server=False, direct=False) | changes
