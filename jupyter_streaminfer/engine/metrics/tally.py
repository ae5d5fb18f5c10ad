"""How many requests, tokens and errors there were; of one model, or of one client."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Literal

from jupyter_streaminfer.engine.metrics.window import SLICES
from jupyter_streaminfer.protocol import Outcomes, TrafficMetrics

Outcome = Literal["completed", "incomplete", "cancelled", "disconnected", "failed"]


class Tally:
    """Counts in plain slots: a prediction changes three of them, a token one.

    How many requests there were is not counted: it is how many are open and how many ended.
    """

    __slots__ = (
        "_counted",
        "_marks",
        "cancelled",
        "completed",
        "disconnected",
        "errors",
        "failed",
        "incomplete",
        "open",
        "rates",
        "tokens_in",
        "tokens_out",
    )

    def __init__(self) -> None:
        """See `TrafficMetrics` for each."""
        self.open = 0
        self.completed = 0
        self.incomplete = 0
        self.cancelled = 0
        self.disconnected = 0
        self.failed = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self.errors: Counter[str] = Counter()
        self.rates = (0.0, 0.0, 0.0)
        """Requests, tokens in and tokens out a second, between the last two samples."""
        self._counted = (0, 0, 0)
        """How many of these there were at the last sample."""
        self._marks: deque[tuple[int, int, int]] = deque([(0, 0, 0)], maxlen=SLICES)
        """Requests that had ended, failed, and all errors, at the beginning of each slice of the window."""

    @property
    def requests(self) -> int:
        """Those that were admitted."""
        return self.open + self.ended

    @property
    def ended(self) -> int:
        """Those of them that are not open."""
        return self.completed + self.incomplete + self.cancelled + self.disconnected + self.failed

    @property
    def lately(self) -> tuple[int, int]:
        """Requests that ended, and that failed, in the window."""
        ended, failed, _ = self._marks[0]
        return self.ended - ended, self.failed - failed

    @property
    def idle(self) -> bool:
        """Whether there was nothing in a whole window."""
        return not self.open and len(self._marks) == SLICES and self._marks[0] == self._mark()

    def fail(self, code: str) -> None:
        """A request ended with that error."""
        self.failed += 1
        self.errors[code] += 1

    def end(self, outcome: Outcome, code: str | None = None) -> None:
        """An open request ended; ``code`` is its error's, where it failed."""
        self.open -= 1
        if outcome == "failed":
            self.fail(code or "internal")
        else:
            setattr(self, outcome, getattr(self, outcome) + 1)

    def rate(self, seconds: float) -> None:
        """It is time for a sample, so long after the last one."""
        counted = (self.requests, self.tokens_in, self.tokens_out)
        requests, tokens_in, tokens_out = (
            round((now - before) / seconds, 2) for now, before in zip(counted, self._counted, strict=True)
        )
        self.rates, self._counted = (requests, tokens_in, tokens_out), counted

    def slide(self) -> None:
        """A slice of the window is over."""
        self._marks.append(self._mark())

    def add(self, other: Tally) -> None:
        """Add another one's counts to these."""
        self.open += other.open
        self.completed += other.completed
        self.incomplete += other.incomplete
        self.cancelled += other.cancelled
        self.disconnected += other.disconnected
        self.failed += other.failed
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out
        if other.errors:
            self.errors.update(other.errors)

    def absorb(self, other: Tally) -> None:
        """Take in an idle one's counts, as if they had been here before the window."""
        self.add(other)
        self._counted = _add(self._counted, other._counted)
        marks = [_add(mark, other._mark()) for mark in self._marks]
        self._marks.clear()
        self._marks.extend(marks)

    def traffic(self) -> TrafficMetrics:
        """The counts as the world sees them."""
        return traffic([self])

    def _mark(self) -> tuple[int, int, int]:
        return self.ended, self.failed, self.errors.total()


def traffic(tallies: Iterable[Tally]) -> TrafficMetrics:
    """What they have together."""
    whole = Tally()
    requests_per_s = tokens_in_per_s = tokens_out_per_s = 0.0
    ended = failed = 0
    for each in tallies:
        whole.add(each)
        requests_per_s += each.rates[0]
        tokens_in_per_s += each.rates[1]
        tokens_out_per_s += each.rates[2]
        lately = each.lately
        ended += lately[0]
        failed += lately[1]
    return TrafficMetrics(
        open=whole.open,
        requests=whole.requests,
        requests_per_s=round(requests_per_s, 2),
        tokens_in=whole.tokens_in,
        tokens_out=whole.tokens_out,
        tokens_in_per_s=round(tokens_in_per_s, 2),
        tokens_out_per_s=round(tokens_out_per_s, 2),
        outcomes=Outcomes(whole.completed, whole.incomplete, whole.cancelled, whole.disconnected, whole.failed),
        errors=dict(whole.errors),
        error_rate=round(failed / ended, 4) if ended else None,
    )


def _add(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
