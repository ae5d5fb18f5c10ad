"""Quantiles of any number of positive numbers, within 1 %, in bounded memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, log

RELATIVE_ERROR = 0.01
MAX_BINS = 2048
"""At 1 % these span seventeen powers of ten."""
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG = 1 / log(_GAMMA)
_MIDDLE = 2 / (_GAMMA + 1)
"""What a bin's upper bound is multiplied with to be off by the same part at both of its ends."""
_SMALLEST = 1e-9
"""What is smaller counts as 0."""
BUCKET_BINS = 35
"""A bucket is so many bins: its bound is about twice that of the one before."""
_FIRST_BUCKET, _LAST_BUCKET = -4, 20
BUCKET_BOUNDS = tuple(_GAMMA ** (BUCKET_BINS * bucket) for bucket in range(_FIRST_BUCKET, _LAST_BUCKET + 1))
"""From 0.06 to over a million: of milliseconds, 60 microseconds to 20 minutes."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """What a histogram shows of some numbers."""

    counts: tuple[int, ...]
    """How many are not above each of `BUCKET_BOUNDS`."""
    count: int
    total: float


class Sketch:
    """Counts numbers in bins whose bounds grow by a constant factor: DDSketch (Masson, Rim and Lee, VLDB 2019).

    A quantile is off by `RELATIVE_ERROR` of itself at most, whatever the numbers are, and sketches are merged
    without losing any of that. Where the numbers span more than `MAX_BINS`, the lowest bins become one: then the low
    quantiles are too high, and the high ones as good as before.
    """

    __slots__ = ("_bins", "_zeros", "count", "greatest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        """The sum of the numbers."""
        self.greatest = 0.0
        self._zeros = 0
        self._bins: dict[int, int] = {}
        """By the logarithm of their upper bound."""

    def add(self, number: float, times: int = 1) -> None:
        """Take a number in that is finite and not negative, so many times."""
        self.count += times
        if number < _SMALLEST:
            self._zeros += times
            return
        self.total += number * times
        if number > self.greatest:
            self.greatest = number
        bin = ceil(log(number) * _PER_LOG)
        try:
            self._bins[bin] += times
        except KeyError:
            self._bins[bin] = times
            self._shrink()

    def merge(self, other: Sketch) -> None:
        """Take in all that another one has."""
        self.count += other.count
        self.total += other.total
        self.greatest = max(self.greatest, other.greatest)
        self._zeros += other._zeros
        bins = self._bins
        for bin, count in other._bins.items():
            bins[bin] = bins.get(bin, 0) + count
        self._shrink()

    def copy(self) -> Sketch:
        """Another one with the same numbers."""
        copied = Sketch()
        copied.count, copied._zeros, copied._bins = self.count, self._zeros, self._bins.copy()
        copied.total, copied.greatest = self.total, self.greatest
        return copied

    def remove(self, other: Sketch) -> None:
        """Take out what was merged in before; `total` and `greatest` stay, and are the caller's to mend.

        Not for numbers that span more than `MAX_BINS`: of those nobody knows where they went.
        """
        self.count -= other.count
        self._zeros -= other._zeros
        bins = self._bins
        for bin, count in other._bins.items():
            if (left := bins[bin] - count) > 0:
                bins[bin] = left
            else:
                del bins[bin]

    def quantile(self, part: float) -> float | None:
        """The number below which ``part`` of them lie, 0 to 1; None for none at all."""
        return self.at(part * (self.count - 1)) if self.count else None

    def at(self, rank: float) -> float:
        """The number that so many others are below, 0 to ``count - 1``; ranks beyond these are the first and last."""
        return self.at_each((rank,))[0]

    def at_each(self, ranks: Sequence[float]) -> list[float]:
        """The same for several ranks, which ascend."""
        bins = sorted(self._bins)
        below = list(accumulate(map(self._bins.__getitem__, bins), initial=self._zeros))
        found: list[float] = []
        for rank in ranks:
            bin = min(bisect_right(below, rank), len(bins)) - 1
            found.append(0.0 if bin < 0 else _MIDDLE * _GAMMA ** bins[bin])
        return found

    def buckets(self) -> Buckets:
        """How the numbers are spread over `BUCKET_BOUNDS`; exact, as these are bounds of bins."""
        counts = [0] * len(BUCKET_BOUNDS)
        counts[0] = self._zeros
        for bin, count in self._bins.items():
            bucket = max(0, -(-bin // BUCKET_BINS) - _FIRST_BUCKET)
            if bucket < len(counts):
                counts[bucket] += count
        return Buckets(tuple(accumulate(counts)), self.count, self.total)

    def _shrink(self) -> None:
        if (excess := len(self._bins) - MAX_BINS) > 0:
            lowest = sorted(self._bins)[: excess + 1]
            self._bins[lowest[-1]] = sum(self._bins.pop(bin) for bin in lowest)
