"""How long to wait before something that failed is tried again."""

from __future__ import annotations


class Backoff:
    """Nothing before the first try, then ``first_s``, doubled each time up to ``longest_s``, until a success."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.failures = 0
        """In a row."""

    def failed(self) -> float:
        """Count a failure: seconds to wait now."""
        self.failures += 1
        return 0.0 if self.failures == 1 else min(self._longest_s, self._first_s * 2.0 ** (self.failures - 2))

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0
