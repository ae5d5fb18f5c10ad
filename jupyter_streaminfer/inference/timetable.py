"""Things by the time at which they are due, of which most are gone before."""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What a `Timetable` asks of the things in it."""

    waiting: bool
    """Whether it is still there; what is not is forgotten some time later."""


Item = TypeVar("Item", bound=Waiting)


class Timetable(Generic[Item]):
    """A heap that holds at most twice the things that wait, and a few."""

    SPARE = 64

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._numbers = count()
        self._sweep_at = self.SPARE

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, item: Item) -> None:
        heapq.heappush(self._heap, (at, next(self._numbers), item))
        if len(self._heap) > self._sweep_at:
            self._heap = [entry for entry in self._heap if entry[2].waiting]
            heapq.heapify(self._heap)
            self._sweep_at = 2 * len(self._heap) + self.SPARE

    @property
    def first(self) -> float:
        """When the first is due; infinity while there is none."""
        heap = self._heap
        while heap and not heap[0][2].waiting:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def pop(self) -> Item:
        """Take out the first, as `first` has found it."""
        return heapq.heappop(self._heap)[2]
