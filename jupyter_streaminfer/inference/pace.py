"""How much of a prompt a step may compute beside streams that wait for their next token."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from statistics import median

STRETCH = 2.0
"""How much longer than one that only decodes a step may get."""


class Pace:
    """Learns how long steps take: ``a`` for so many decoding sequences, ``b`` more for each token of prompts.

    ``a`` is the median of the last steps, which one disturbed step does not move. ``b`` is the worse of the last two:
    a disturbed step makes a prompt a little slower for a moment, where a hopeful guess would make every stream stutter.
    """

    def __init__(self, *, minimum: int = 16) -> None:
        """``minimum``: prompt tokens that a step may always have, so that prompts progress."""
        self.minimum = minimum
        self._decoding: list[int] = []
        """The numbers of decoding sequences that were measured, ascending."""
        self._bases: dict[int, deque[float]] = {}
        """For each of them the last durations, in seconds."""
        self._prefills: deque[tuple[int, float]] = deque(maxlen=2)
        """Prompt tokens of the last two mixed steps, and seconds that each of the tokens took."""

    def note(self, decoding: int, prefill_tokens: int, seconds: float) -> None:
        """Learn from a step that computed so much. Steps in which nobody decodes hold nobody up, and are ignored."""
        if not decoding:
            return
        if not prefill_tokens:
            if decoding not in self._bases:
                insort(self._decoding, decoding)
                self._bases[decoding] = deque(maxlen=9)
            self._bases[decoding].append(seconds)
        elif prefill_tokens >= self.minimum and self._decoding:  # divided by a few tokens, jitter would look like cost
            self._prefills.append((prefill_tokens, (seconds - self._base(decoding)) / prefill_tokens))

    def prefill_tokens(self, decoding: int) -> int | None:
        """How many tokens of prompts the next step may have; None, no bound, when nobody decodes.

        Beyond what was measured lately a token's cost is a guess, for it differs with their number; so growth goes half
        the way, as ratios go, and at most to twice as many.
        """
        if not decoding:
            return None
        if not self._prefills:
            return self.minimum
        measured = max(tokens for tokens, _ in self._prefills)
        cost = max(seconds for _, seconds in self._prefills)
        room = (STRETCH - 1) * self._base(decoding)
        most = room / cost if cost * 4 * measured > room else 4.0 * measured
        if most > measured:
            most = math.sqrt(most * measured)
        return max(self.minimum, int(most))

    def _base(self, decoding: int) -> float:
        """Seconds of a step that only decodes: measured, else on the line between the nearest two measured numbers."""
        index = bisect_left(self._decoding, decoding)
        above = self._decoding[min(index, len(self._decoding) - 1)]
        below = self._decoding[max(index - 1, 0)]
        high = median(self._bases[above])
        if above <= decoding or above == below:
            return high
        low = median(self._bases[below])
        return low + (high - low) * (decoding - below) / (above - below)
