"""Whether a version on trial does worse than it may."""

from __future__ import annotations

import math
from collections.abc import Iterable

from jupyter_streaminfer.engine.arms import ArmFigures
from jupyter_streaminfer.engine.intervals import share, wilson
from jupyter_streaminfer.engine.sketch import Sketch
from jupyter_streaminfer.protocol import Canary

Z = 3.0
"""How many standard deviations beyond chance: a canary is looked at often, so 95 % would condemn many a good one."""
GROWTH = 1.125
"""It is looked at when it has so many times the requests that it had the last time."""


class Trial:
    """Looks at a canary once it has answered enough, and again as its figures grow.

    It is condemned when its errors are above what is allowed, when it refuses more of what it is asked than the arms
    do by more than that, or when its median latency is above theirs by more than is allowed; each by more than chance
    explains. The bounds are Wilson's of the rates, and of the medians the numbers some ranks around them, whatever
    their distribution.
    """

    def __init__(self, canary: Canary) -> None:
        self.canary = canary
        self._next_look = canary.min_requests

    def verdict(self, trial: ArmFigures, arms: Iterable[ArmFigures]) -> str | None:
        """Why it is to be taken out, with the numbers; None where it may stay, or it is not yet time to look."""
        asked = trial.requests + trial.refused
        if asked < self._next_look:
            return None
        self._next_look = math.ceil(asked * GROWTH)
        arms = list(arms)
        return self._errors(trial) or self._refusals(trial, arms) or self._latency(trial, arms)

    def _errors(self, trial: ArmFigures) -> str | None:
        limit = self.canary.max_error_rate
        if (rate := share(trial.errors, trial.requests)) is None or wilson(trial.errors, trial.requests, Z)[0] <= limit:
            return None
        return (
            f"{trial.errors} of its {trial.requests} requests failed: {rate.value:.1%} "
            f"(95 % interval {rate.low:.1%} to {rate.high:.1%}), where at most {limit:.1%} may."
        )

    def _refusals(self, trial: ArmFigures, arms: Iterable[ArmFigures]) -> str | None:
        refused, asked = sum(arm.refused for arm in arms), sum(arm.refused + arm.requests for arm in arms)
        mine = trial.requests + trial.refused
        if asked < self.canary.min_requests:
            return None
        limit = wilson(refused, asked, Z)[1] + self.canary.max_error_rate
        if wilson(trial.refused, mine, Z)[0] <= limit:
            return None
        return (
            f"It refused {trial.refused} of {mine} requests as invalid ({trial.refused / mine:.1%}), and the arms "
            f"{refused} of {asked} ({refused / asked:.1%})."
        )

    def _latency(self, trial: ArmFigures, arms: Iterable[ArmFigures]) -> str | None:
        limit = self.canary.max_latency_ratio
        others = Sketch()
        for arm in arms:
            others.merge(arm.latencies)
        # Both sides are to be known well before they are compared.
        if min(trial.latencies.count, others.count) < self.canary.min_requests:
            return None
        low, high = _median_bound(trial.latencies, -Z), _median_bound(others, Z)
        if low <= limit * high:
            return None
        median, of_arms = trial.latencies.quantile(0.5) or 0.0, others.quantile(0.5) or 0.0
        return (
            f"Its median latency over {trial.latencies.count} requests is {median:.3g} ms and that of the arms "
            f"{of_arms:.3g} ms over {others.count}: a ratio of {median / of_arms if of_arms else math.inf:.3g}, where "
            f"at most {limit:g} is allowed."
        )


def _median_bound(sketch: Sketch, z: float) -> float:
    """What the median lies above (``z`` < 0) or below, but for chance; 0 and infinity where nothing can be said.

    How many of n numbers are below the true median is binomial: n / 2, give or take half the square root of n.
    """
    rank = (sketch.count - 1) / 2 + z * math.sqrt(sketch.count) / 2
    if rank < 0:
        return 0.0
    return math.inf if rank > sketch.count - 1 else sketch.at(rank)
