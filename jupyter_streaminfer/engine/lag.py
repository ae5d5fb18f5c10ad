"""How late the event loop is: what everyone else on it feels."""

from __future__ import annotations

import asyncio
from collections import deque

PERIOD_S = 0.25
SAMPLES = 20
"""Five seconds' worth."""


class LoopLag:
    """Sets a timer four times a second and notes how much later than asked the loop came to it."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=SAMPLES)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def worst_ms(self) -> float:
        """The worst of the last five seconds."""
        return max(self._late, default=0.0) * 1000

    def start(self) -> None:
        """Measure the running loop."""
        if self._timer is None:
            self._arm(asyncio.get_running_loop())

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_at(loop.time() + PERIOD_S, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._timer is not None  # noqa: S101 (it is what calls)
        self._late.append(max(0.0, loop.time() - self._timer.when()))
        self._arm(loop)
