"""What a batch costs by its size, learnt from measured ones: seconds = a * rows + b, old measurements forgotten.

A straight line is what Clipper (Crankshaw et al., NSDI 2017) found for its models, and what BentoML's batcher fits as
it serves. Here the fit is weighted least squares with exponential forgetting, in which a measurement far off the line
counts the less the farther it is (Huber's weights): a batch that the operating system interrupted changes little, and
a model that has become slower is still followed within some dozens of batches.
"""

from __future__ import annotations

FORGET = 0.98
"""What a measurement counts for after each later one, times this."""
FAR = 3.0
"""How many times the usual distance from the line a measurement may be off and still count in full."""
QUANTILE, STEP = 0.9, 0.05
"""Of the measurements over the line's, which one `BatchCost.slack` follows, and how fast."""
SPREAD = 1e-3
"""Without at least this variance of the sizes, over their mean's square, nothing is learnt of the slope."""


class BatchCost:
    """The line, and how far above it nine of ten batches stay."""

    def __init__(self) -> None:
        self.per_row = 0.0
        """Seconds."""
        self.fixed = 0.0
        """Seconds of a batch, however small."""
        self.slack = 1.0
        """Nine of ten batches take at most this many times what the line says; at least 1."""
        self._weight = self._rows = self._seconds = self._square = self._product = 0.0
        """Sums over the measurements, forgetting."""
        self._distance = 0.0
        """How far measurements are from the line, usually."""

    def of(self, rows: float) -> float:
        """Seconds that a batch of so many rows takes."""
        return self.per_row * rows + self.fixed

    def learn(self, rows: int, seconds: float) -> None:
        """Add a measurement."""
        expected = self.of(rows)
        weight = 1.0
        if self._weight > 1.0:
            off = abs(seconds - expected)
            if off > FAR * self._distance > 0:
                weight = FAR * self._distance / off
                off = FAR * self._distance
            self._distance += 0.1 * (off - self._distance)
            above = seconds > expected * self.slack
            self.slack = max(1.0, self.slack * (1 + STEP * (QUANTILE if above else QUANTILE - 1)))
        self._weight = self._weight * FORGET + weight
        self._rows = self._rows * FORGET + weight * rows
        self._seconds = self._seconds * FORGET + weight * seconds
        self._square = self._square * FORGET + weight * rows * rows
        self._product = self._product * FORGET + weight * rows * seconds
        self._fit()

    def _fit(self) -> None:
        rows, seconds = self._rows / self._weight, self._seconds / self._weight
        variance = self._square / self._weight - rows * rows
        if variance > SPREAD * rows * rows:
            self.per_row = max(0.0, (self._product / self._weight - rows * seconds) / variance)
        # Batches of one size tell nothing of the slope: it stays what it was, but for what the line must pass through.
        self.per_row = min(self.per_row, seconds / rows)
        self.fixed = max(0.0, seconds - self.per_row * rows)  # rounding alone can make it less than nothing
