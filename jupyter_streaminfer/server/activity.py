"""When this extension last did something, for whatever stops idle servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any

from jupyter_server._tz import utcnow

INTERVAL_S = 10.0
"""How old the time of a running stream may get."""


class Activity:
    """Keeps the server's ``last_activity`` young while work runs: WebSocket traffic alone does not."""

    def __init__(self, settings: MutableMapping[str, Any], busy: Callable[[], bool]) -> None:
        self._times: MutableMapping[str, datetime] = settings["last_activity_times"]
        self._busy = busy
        self._timer: asyncio.TimerHandle | None = None
        self._touched = False
        """Whether this turn of the loop is to be noted already."""

    def start(self) -> None:
        """Begin to look, on the running loop."""
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def touch(self) -> None:
        """Something was asked for just now: noted once a turn of the loop, whatever that brings."""
        if not self._touched:
            self._touched = True
            asyncio.get_running_loop().call_soon(self._note)

    def _note(self) -> None:
        self._touched = False
        self._times["streaminfer"] = utcnow()

    def _look(self) -> None:
        if self._busy():
            self._note()
        self.start()
