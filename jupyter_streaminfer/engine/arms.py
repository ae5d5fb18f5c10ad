"""What one version of a route did: its requests, its errors, its latency."""

from __future__ import annotations

from typing import Literal

from jupyter_streaminfer.engine.intervals import Mean, share
from jupyter_streaminfer.engine.sketch import Sketch
from jupyter_streaminfer.protocol import ArmStatus, ErrorCode

FAULTS: frozenset[ErrorCode] = frozenset({"internal", "worker_lost", "deadline", "expired", "overloaded"})
"""The errors that are a version's own: it failed, or did not keep up."""
REFUSALS: frozenset[ErrorCode] = frozenset({"invalid_request", "too_large"})
"""Those that are the asker's, unless other versions take the same. What is in neither tells nothing of the version."""


class ArmFigures:
    """Counts what becomes of the requests that a version was chosen for, from their dispatch to their end.

    Counted are those that it answered and those that ended with one of `FAULTS`, and by themselves its `REFUSALS`.
    What the asker took back is no request here, and nor is what the cache answered or admission refused.
    """

    __slots__ = ("_mean", "errors", "latencies", "refused", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.refused = 0
        """Not among the requests."""
        self.latencies = Sketch()
        """Of those answered, in milliseconds."""
        self._mean = Mean()

    def answered(self, latency_ms: float | None) -> None:
        """One more was answered; a stream that ended before its first token has no latency."""
        self.requests += 1
        if latency_ms is not None:
            self.latencies.add(latency_ms)
            self._mean.add(latency_ms)

    def failed(self, code: ErrorCode) -> None:
        """One more ended with an error."""
        if code in FAULTS:
            self.requests += 1
            self.errors += 1
        elif code in REFUSALS:
            self.refused += 1

    def status(self, version: str, weight: float, role: Literal["arm", "canary"], of: int) -> ArmStatus:
        """The figures, beside ``of`` requests of all versions together."""
        return ArmStatus(
            version=version,
            weight=weight,
            role=role,
            requests=self.requests,
            errors=self.errors,
            refused=self.refused,
            share=share(self.requests, of),
            error_rate=share(self.errors, self.requests),
            latency_ms=self._mean.interval(),
            latency_p50_ms=self.latencies.quantile(0.5),
            latency_p95_ms=self.latencies.quantile(0.95),
        )
