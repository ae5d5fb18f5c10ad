"""What connections have to write, with the next turn of the loop: one callback for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Writes:
    """Whose turn it is to write. A step that answers hundreds of connections has the loop called back once."""

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def add(self, write: Callable[[], None]) -> None:
        """Have ``write`` called before the loop waits again; one that fails is logged, and the others are called."""
        self._due.append(write)
        if len(self._due) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        due, self._due = self._due, []
        for write in due:
            try:
                write()
            except Exception:
                _log.exception("Writing to a streaminfer connection failed")
