"""Quantiles of any number of positive numbers, within 1 %, in bounded memory."""

from __future__ import annotations

import math

RELATIVE_ERROR = 0.01
MAX_BINS = 2048
"""At 1 % these span seventeen powers of ten."""
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG = 1 / math.log(_GAMMA)
_MIDDLE = 2 / (_GAMMA + 1)
"""What a bin's upper bound is multiplied with to be off by the same part at both of its ends."""
_SMALLEST = 1e-9
"""What is smaller counts as 0."""


class Sketch:
    """Counts numbers in bins whose bounds grow by a constant factor: DDSketch (Masson, Rim and Lee, VLDB 2019).

    A quantile is off by `RELATIVE_ERROR` of itself at most, whatever the numbers are, and sketches are merged
    without losing any of that. Where the numbers span more than `MAX_BINS`, the lowest bins become one: then the low
    quantiles are too high, and the high ones as good as before.
    """

    __slots__ = ("_bins", "_zeros", "count")

    def __init__(self) -> None:
        self.count = 0
        self._zeros = 0
        self._bins: dict[int, int] = {}
        """By the logarithm of their upper bound."""

    def add(self, number: float) -> None:
        """Take one more number in, which is finite and not negative."""
        self.count += 1
        if number < _SMALLEST:
            self._zeros += 1
            return
        bin = math.ceil(math.log(number) * _PER_LOG)
        self._bins[bin] = self._bins.get(bin, 0) + 1
        if len(self._bins) > MAX_BINS:
            self._shrink()

    def merge(self, other: Sketch) -> None:
        """Take in all that another one has."""
        self.count += other.count
        self._zeros += other._zeros
        for bin, count in other._bins.items():
            self._bins[bin] = self._bins.get(bin, 0) + count
        self._shrink()

    def quantile(self, part: float) -> float | None:
        """The number below which ``part`` of them lie, 0 to 1; None for none at all."""
        return self.at(part * (self.count - 1)) if self.count else None

    def at(self, rank: float) -> float:
        """The number that so many others are below, 0 to ``count - 1``; ranks beyond these are the first and last."""
        below = self._zeros
        if rank < below or not self._bins:
            return 0.0
        bins = sorted(self._bins)
        for bin in bins:
            below += self._bins[bin]
            if rank < below:
                break
        return float(_MIDDLE * _GAMMA**bin)

    def _shrink(self) -> None:
        if (excess := len(self._bins) - MAX_BINS) > 0:
            lowest = sorted(self._bins)[: excess + 1]
            self._bins[lowest[-1]] = sum(self._bins.pop(bin) for bin in lowest)
