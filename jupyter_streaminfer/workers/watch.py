"""Noticing that a worker process hangs, by its heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jupyter_streaminfer.workers.messages import Heartbeat

HEARTBEAT_S = 1.0
LOST_AFTER = 10
"""Heartbeats missed in a row until the process counts as lost; a death is noticed at once, this is for one that hangs.
"""
LOAD_SILENCE_S = 300.0
"""How long a process that loads a model may send none: imports and conversions can hold the interpreter for long."""
STALL_S = 300.0
"""How long a step may take; then the process counts as lost."""


class Watch:
    """Counts heartbeats instead of timing them: when this process was held up itself, one is missed at most."""

    def __init__(self, heartbeat_s: float, stall_s: float, on_lost: Callable[[str], None]) -> None:
        """``on_lost`` is called with what is wrong, to follow "the process ..."."""
        self._heartbeat_s = heartbeat_s
        self._stall_beats = max(1, round(stall_s / heartbeat_s))
        self._patience = max(LOST_AFTER, round(LOAD_SILENCE_S / heartbeat_s))
        self._on_lost = on_lost
        self._timer: asyncio.TimerHandle | None = None
        self._missed = 0
        """In a row."""
        self._still = 0
        """In a row that knew of work and of no step that ended."""
        self._steps = 0

    def begin(self) -> None:
        """Expect heartbeats from now on, on the running loop; leniently until `loaded`."""
        self._timer = asyncio.get_running_loop().call_later(self._heartbeat_s, self._tick)

    def loaded(self) -> None:
        """Expect each of them."""
        self._patience = LOST_AFTER

    def heard(self) -> None:
        """Something came, so the process is there."""
        self._missed = 0

    def beat(self, beat: Heartbeat) -> None:
        """Look whether its steps end."""
        self._still = self._still + 1 if beat.working and beat.steps == self._steps else 0
        self._steps = beat.steps
        if self._still > self._stall_beats:
            self._on_lost(f"has not finished a step in {self._stall_beats * self._heartbeat_s:.0f} s")

    def close(self) -> None:
        """Expect nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._missed += 1
        if self._missed > self._patience:
            self._on_lost(f"has sent no heartbeat for {self._patience * self._heartbeat_s:.0f} s")
        else:
            self.begin()
