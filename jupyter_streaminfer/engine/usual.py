"""How long streams usually are: what others of the same model brought."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import ceil

KEPT = 200
"""Streams that are remembered of a model, the latest ones."""
ENOUGH = 20
"""Streams that say what is usual; with fewer nothing is."""


class UsualLength:
    """The tokens of a model's latest streams that came to their own end."""

    def __init__(self) -> None:
        self._latest: deque[int] = deque()
        self._sorted: list[int] = []

    def add(self, tokens: int) -> None:
        """One more ended."""
        if len(self._latest) == KEPT:
            oldest = self._latest.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._latest.append(tokens)
        insort(self._sorted, tokens)

    def quantile(self, part: float) -> int | None:
        """The least number that at least this part of them, above 0 to 1, does not exceed; None for too few."""
        if len(self._sorted) < ENOUGH:
            return None
        return self._sorted[ceil(part * len(self._sorted)) - 1]
