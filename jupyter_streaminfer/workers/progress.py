"""How a load's progress is told: often enough to be watched, and no oftener."""

from __future__ import annotations

import time
from collections.abc import Callable

from jupyter_streaminfer.protocol import LoadProgress, LoadStage

PERIOD_S = 0.1
"""Between two reports of one stage."""


class Progress:
    """Called by what loads, as often as it likes, on its thread."""

    def __init__(self, tell: Callable[[LoadProgress], None], clock: Callable[[], float] = time.monotonic) -> None:
        """``tell`` gets what is worth telling: each new stage, all of its bytes, and ten times a second between."""
        self._tell = tell
        self._clock = clock
        self._stage = ""
        self._told = 0.0

    def __call__(self, stage: LoadStage, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """The load is at that stage, and has so many bytes of it behind it."""
        now = self._clock()
        if stage != self._stage or done_bytes == total_bytes > 0 or now - self._told >= PERIOD_S:
            self._stage, self._told = stage, now
            self._tell(LoadProgress(stage, done_bytes, total_bytes))
