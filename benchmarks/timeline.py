"""When each token of a workload reached whoever asked for it. Standard library only, as `workload`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from figures import percentile


@dataclass
class Timeline:
    """One entry a request of the workload, in its order; seconds since the beginning."""

    sent: list[float | None]
    """Where its time to first token begins; None: never sent."""
    arrivals: list[list[float]]
    token_ids: list[list[int]]
    waited: float = 0.0
    """How long the client was ready to run and had no core."""

    @classmethod
    def of_size(cls, requests: int) -> Timeline:
        """Nothing sent, nothing received."""
        return cls([None] * requests, [[] for _ in range(requests)], [[] for _ in range(requests)])

    def note(self, index: int, token_ids: list[int], at: float) -> int:
        """Tokens of a request arrived; returns how many it has now."""
        self.arrivals[index] += [at] * len(token_ids)
        self.token_ids[index] += token_ids
        return len(self.token_ids[index])

    @property
    def took(self) -> float:
        """From the first request to the last token."""
        began = min(sent for sent in self.sent if sent is not None)
        return max(times[-1] for times in self.arrivals if times) - began

    @property
    def first_ms(self) -> list[float]:
        """Each request's time to first token, milliseconds."""
        both = zip(self.sent, self.arrivals, strict=True)
        return [(times[0] - sent) * 1000 for sent, times in both if sent is not None and times]

    @property
    def gaps_ms(self) -> list[float]:
        """Every inter-token latency, milliseconds; 0 between tokens that arrived together."""
        return [(b - a) * 1000 for times in self.arrivals for a, b in itertools.pairwise(times)]

    def figures(self) -> dict[str, float]:
        """Tokens a second, and TTFT and ITL in milliseconds."""
        first, gaps = self.first_ms, self.gaps_ms
        return {
            "tokens_per_second": round(sum(map(len, self.arrivals)) / self.took, 1),
            "ttft_p50_ms": round(percentile(first, 50), 2),
            "ttft_p99_ms": round(percentile(first, 99), 2),
            "itl_p50_ms": round(percentile(gaps, 50), 3),
            "itl_p99_ms": round(percentile(gaps, 99), 3),
        }
