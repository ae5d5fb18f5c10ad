"""Adaptive batching: a batch size and a wait with which nine of ten rows are answered within a latency target.

A row waits for the batch that is being computed as it arrives, then for company, then for its own batch: with batches
of at most ``n`` rows that is twice a batch's cost, and the wait. So ``n`` is the largest size of which two batches fit
into the target, and who waits for company waits for what they leave of it, which is something where ``n`` has a bound
of its own: a busy worker fills its batches without a wait. Costs are learnt (`batch_cost.py`).
"""

from __future__ import annotations

import math

from jupyter_streaminfer.inference.batch_cost import BatchCost


class Adaptive:
    """Chooses for one model."""

    def __init__(self, cost: BatchCost, target: float, largest: int, longest: float) -> None:
        """``target``: seconds. ``largest`` and ``longest``: the size and the wait, seconds, that are never exceeded."""
        self.target = target
        self._cost = cost
        self._largest = largest
        self._longest = longest

    @property
    def attainable(self) -> bool:
        """Whether a row alone is answered within the target, nine times of ten."""
        return self._seconds(1) <= self.target

    def choose(self, seen: int, waiting: int) -> tuple[int, float]:
        """The size of the next batch at most, and how long its oldest row may wait for company, in seconds.

        ``seen``: the largest batch that was measured; sizes beyond its double are not tried, as the line may bend.
        ``waiting``: rows that wait already. Where they are too many to be answered in time, smaller batches would make
        it worse: then the size is taken that gets through them soonest. A target that even a row alone exceeds means
        batches of one, without a wait, while nothing else waits.
        """
        size = max(1, min(self._fitting(), 2 * seen, self._largest))
        if waiting > size and (waiting / size + 1) * self._seconds(size) > self.target:
            size = max(size, min(self._soonest(waiting), 2 * seen, self._largest))
        return size, min(self._longest, max(0.0, self.target - 2 * self._seconds(size)))

    def _seconds(self, rows: float) -> float:
        return self._cost.of(rows) * self._cost.slack

    def _fitting(self) -> int:
        """The largest size of which two batches fit into the target; 0 where none does."""
        left = self.target / 2 / self._cost.slack - self._cost.fixed
        if left <= 0:
            return 0
        return self._largest if left >= self._cost.per_row * self._largest else int(left / self._cost.per_row)

    def _soonest(self, waiting: int) -> int:
        """The size with which the last of so many rows is answered first.

        It takes ``waiting / n + 1`` batches of ``a * n + b``, which is least at the root of ``b * waiting / a``.
        """
        if self._cost.per_row * waiting <= self._cost.fixed:
            return waiting
        return max(1, round(math.sqrt(self._cost.fixed * waiting / self._cost.per_row)))
