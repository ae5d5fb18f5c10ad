"""A token bucket: so much in the long run, so much at once, and exactly how long until there is enough."""

from __future__ import annotations

import math

_TOLERANCE_S = 1e-6
"""Clocks count in floats: a wait this short is over."""


class Bucket:
    """Holds ``burst`` at most and gains ``rate`` a second; time is handed in, in seconds.

    It is kept as the moment at which it will be full again, which nothing but a take moves.
    """

    __slots__ = ("_burst", "_rate", "full_at")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self.full_at = -math.inf

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` can be taken if nothing else is: 0 for now, infinity for never."""
        if amount > self._burst:
            return math.inf
        wait = max(self.full_at - now, 0.0) + (amount - self._burst) / self._rate
        return wait if wait > _TOLERANCE_S else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take it; ``wait`` said 0."""
        self.full_at = max(self.full_at, now) + amount / self._rate
