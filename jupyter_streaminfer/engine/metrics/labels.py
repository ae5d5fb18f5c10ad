"""Labels: as many as there is room for, and whatever people put into them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from jupyter_streaminfer.engine.metrics.tally import Tally

MAX_LABEL = 80
"""Characters of one."""


Key = TypeVar("Key", bound=Hashable)
Series = TypeVar("Series", bound=Tally)


class Labelled(Generic[Key, Series]):
    """A series for each label, up to ``limit`` of them; the rest share one.

    When it is full, labels that were idle for a whole window are folded into the shared one, so nothing is ever lost
    from a sum, and make room for new ones.
    """

    def __init__(self, other: Key, make: Callable[[], Series], limit: int) -> None:
        """``other`` is the label of the shared series."""
        self._other = other
        self._make = make
        self._limit = limit
        self._series: dict[Key, Series] = {}

    def __iter__(self) -> Iterator[tuple[Key, Series]]:
        return iter(self._series.items())

    def get(self, key: Key) -> Series:
        """The series of that label, or the shared one where there is no room."""
        return self._series.get(key) or self._new(key)

    def label(self, key: Key) -> Key:
        """The label under which that one is counted: its own, or the shared one."""
        self.get(key)
        return key if key in self._series else self._other

    def fold(self) -> None:
        """Make room, where there is none."""
        if len(self._series) < self._limit:
            return
        for key, series in list(self._series.items()):
            if key != self._other and series.idle:
                self._shared().absorb(series)
                del self._series[key]

    def _new(self, key: Key) -> Series:
        # The shared one has a place of its own, whether it is there already or not.
        if len(self._series) - (self._other in self._series) >= self._limit and key != self._other:
            return self._shared()
        series = self._series[key] = self._make()
        return series

    def _shared(self) -> Series:
        return self._series.get(self._other) or self._new(self._other)


def legible(text: str) -> str:
    """A text as a label: not too long, and nothing in it that is no character."""
    cut = text[:MAX_LABEL].encode("utf-8", "replace").decode()
    return "".join([each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in cut])
