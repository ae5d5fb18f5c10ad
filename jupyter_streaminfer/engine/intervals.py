"""How sure a figure is: confidence intervals of a share and of a mean."""

from __future__ import annotations

import math

from jupyter_streaminfer.protocol import Interval

Z_95 = 1.959964
"""Of a normal distribution, 95 % lie within so many standard deviations."""
_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""The same of Student's t distribution, with 1 to 10 degrees of freedom."""


def wilson(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """The bounds of a share of which ``successes`` of ``trials`` were seen, ``z`` standard deviations to each side.

    Wilson's score interval (JASA 1927), which holds for few trials and for shares near 0 and 1 too. ``trials`` is at
    least 1.
    """
    share, z2 = successes / trials, z * z
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    # At the ends the interval reaches them exactly; floats do not.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return low, high


def share(successes: int, trials: int) -> Interval | None:
    """A share with its 95 % interval; None without trials."""
    return Interval(successes / trials, *wilson(successes, trials)) if trials else None


class Mean:
    """A mean and its spread, in constant memory (Welford, Technometrics 1962)."""

    __slots__ = ("_squares", "count", "value")

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0
        self._squares = 0.0
        """The sum of the squared distances from the mean."""

    def add(self, number: float) -> None:
        """Take one more number in."""
        self.count += 1
        before = number - self.value
        self.value += before / self.count
        self._squares += before * (number - self.value)

    def interval(self) -> Interval | None:
        """The mean with its 95 % interval by Student's t; None for fewer than two numbers."""
        if self.count < 2:
            return None
        half = _t_95(self.count - 1) * math.sqrt(self._squares / (self.count - 1) / self.count)
        return Interval(self.value, self.value - half, self.value + half)


def _t_95(freedom: int) -> float:
    if freedom <= len(_T_95):
        return _T_95[freedom - 1]
    # Cornish and Fisher's expansion: right to 0.001 from here on.
    z = Z_95
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
