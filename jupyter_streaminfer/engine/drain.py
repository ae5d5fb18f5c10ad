"""How fast the engine gets done with what it admitted, and so when to ask again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

SLOT_S = 0.5
WINDOW_SLOTS = 10
"""The rate is that of the last five seconds or little more."""
MIN_RETRY_MS = 50.0
MAX_RETRY_MS = 60_000.0
UNKNOWN_RETRY_MS = 1000.0
"""Before anything was measured."""


class DrainRate:
    """Tokens done a second of the time in which there was something to do: pauses between requests do not count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: deque[tuple[int, float]] = deque(maxlen=WINDOW_SLOTS)
        """Tokens and seconds; a slot is at least `SLOT_S` long, and longer where nothing got done."""
        self._tokens = 0
        """Of the slot that is still being filled."""
        self._seconds = 0.0
        """That slot's, up to ``_since``."""
        self._since: float | None = None
        """From when on time counts; None while there is nothing to do."""

    def resume(self) -> None:
        """There is something to do: time counts."""
        if self._since is None:
            self._since = self._clock()

    def rest(self) -> None:
        """There is nothing to do any more."""
        if self._since is not None:
            self._seconds = self._elapsed(self._clock())
            self._since = None

    def note(self, tokens: int) -> None:
        """So many tokens are done."""
        self._tokens += tokens
        if self._since is not None and (elapsed := self._elapsed(now := self._clock())) >= SLOT_S:
            self._slots.append((self._tokens, elapsed))
            self._tokens, self._seconds, self._since = 0, 0.0, now

    @property
    def rate(self) -> float | None:
        """Tokens a second, lately; None before so much was seen that it can be said."""
        tokens, seconds = self._tokens, self._elapsed(self._clock())
        for slot_tokens, slot_seconds in reversed(self._slots):
            if seconds >= SLOT_S * WINDOW_SLOTS:
                break
            tokens, seconds = tokens + slot_tokens, seconds + slot_seconds
        return tokens / seconds if seconds >= SLOT_S else None

    def retry_after_ms(self, tokens: float) -> float:
        """How long until so many tokens are done, at this rate: between 50 ms and a minute."""
        if (rate := self.rate) is None:
            return UNKNOWN_RETRY_MS
        if tokens * 1000 >= rate * MAX_RETRY_MS:
            return MAX_RETRY_MS
        return max(MIN_RETRY_MS, tokens / rate * 1000)

    def _elapsed(self, now: float) -> float:
        return self._seconds if self._since is None else self._seconds + now - self._since
