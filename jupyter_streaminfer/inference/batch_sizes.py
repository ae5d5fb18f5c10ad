"""How large batches are, counted by their size."""

from __future__ import annotations

EXACT_BITS = 8
"""Sizes of more bits are rounded down to these, which is less than 1 %: so there are few counts, whatever comes."""


class BatchSizes:
    """Counts that only grow."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, size: int) -> None:
        """One more batch of so many sequences or rows was computed."""
        if (excess := size.bit_length() - EXACT_BITS) > 0:
            size = size >> excess << excess
        self._counts[size] = self._counts.get(size, 0) + 1

    def counts(self) -> dict[int, int]:
        """Batches by their size so far; may be called from another thread."""
        return self._counts.copy()
