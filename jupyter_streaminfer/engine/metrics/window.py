"""Numbers of the last minute, and of all time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import structs

from jupyter_streaminfer.engine.sketch import Buckets, Sketch
from jupyter_streaminfer.protocol import WINDOW_S, Distribution

SLICE_S = 5.0
"""A window slides by so much: it reaches back `WINDOW_S`, or up to so much less."""
SLICES = round(WINDOW_S / SLICE_S)
"""Those of one window, the one that is being filled included."""
DIGITS = 3
"""To which distributions are rounded: of milliseconds, to the microsecond."""

_EMPTY = Sketch()


class Window:
    """A ring of sketches, one a slice of time. What has left the window is kept in one sketch more.

    It has no clock: whoever has one calls `slide`, once for each slice that is over.
    """

    __slots__ = ("_before", "_closed", "_distribution", "_merged", "_past", "_seen", "current")

    def __init__(self) -> None:
        self.current = Sketch()
        """What numbers are added to."""
        self._closed: deque[Sketch] = deque()
        """The slices of the window that are full, the oldest first."""
        self._past = Sketch()
        """These, merged."""
        self._before = Sketch()
        """What has left the window."""
        self._seen = (0, 0)
        """How many numbers there had ever been, and were in the window, when these two were made."""
        self._merged = _EMPTY
        self._distribution: Distribution | None = None

    @property
    def count(self) -> int:
        """Numbers in the window."""
        return self._past.count + self.current.count

    def slide(self) -> None:
        """A slice is over."""
        current, past = self.current, self._past
        if not current.count and not past.count:
            self._closed.clear()
            return
        if current.count:
            past.merge(current)
            self._closed.append(current)
            self.current = Sketch()
        else:
            self._closed.append(_EMPTY)
        if len(self._closed) == SLICES:
            oldest = self._closed.popleft()
            self._before.merge(oldest)
            past.remove(oldest)
            # Added up anew, so that no rounding and no old extreme stays.
            past.total = sum(each.total for each in self._closed)
            past.greatest = max(each.greatest for each in self._closed)

    def sketch(self) -> Sketch:
        """All numbers in the window; not to be changed."""
        self._look()
        return self._merged

    def distribution(self) -> Distribution | None:
        """How they are spread; None where there are none."""
        self._look()
        return self._distribution

    def _look(self) -> None:
        in_window = self.count
        if (seen := (self._before.count + in_window, in_window)) != self._seen:
            self._merged = merged([self._past, self.current])
            self._seen, self._distribution = seen, distribution(self._merged)

    def buckets(self) -> Buckets:
        """All numbers ever."""
        parts = [sketch.buckets() for sketch in (self._before, self._past, self.current)]
        return Buckets(
            tuple(sum(counts) for counts in zip(*(part.counts for part in parts), strict=True)),
            sum(part.count for part in parts),
            sum(part.total for part in parts),
        )

    def absorb(self, other: Window) -> None:
        """Take in all that another one ever had, as if it had left the window."""
        for sketch in (other._before, other._past, other.current):
            self._before.merge(sketch)


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """One sketch of all of them; one of them itself where the others are empty, so not to be changed."""
    filled = [sketch for sketch in sketches if sketch.count]
    if len(filled) == 1:
        return filled[0]
    if not filled:
        return _EMPTY
    largest = max(filled, key=lambda sketch: sketch.count)
    whole = largest.copy()
    for sketch in filled:
        if sketch is not largest:
            whole.merge(sketch)
    return whole


def distribution(sketch: Sketch) -> Distribution | None:
    """How its numbers are spread; None where there are none."""
    count = sketch.count
    if not count:
        return None
    greatest = sketch.greatest
    p50, p95, p99 = (min(each, greatest) for each in sketch.at_each([part * (count - 1) for part in (0.5, 0.95, 0.99)]))
    figures = (sketch.total / count, p50, p95, p99, greatest)
    return Distribution(count, *(round(figure, DIGITS) for figure in figures))


def whole(spread: Distribution | None) -> Distribution | None:
    """The same of whole numbers: those below 50 are exact then."""
    if spread is None:
        return None
    return structs.replace(spread, p50=round(spread.p50, 0), p95=round(spread.p95, 0), p99=round(spread.p99, 0))
