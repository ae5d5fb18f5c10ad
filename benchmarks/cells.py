"""The cells of the table: what is asked, and which figures come of it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal

from figures import percentile
from timeline import Timeline
from workload import SUFFIX_TOKENS, Prompts, Workload

SEQUENTIAL = 4
"""Requests of a cell with few at once: one alone would be a short measurement."""
PREFIX_PAIRS = 5
LOAD = 0.7
"""The Poisson run's rate, as a share of what the slowest server does when it is saturated."""


@dataclass(frozen=True)
class Cell:
    """``burst``: ``concurrency`` at once; ``poisson``: twice as many arrive, each by itself; ``prefix``: pairs."""

    kind: Literal["burst", "poisson", "prefix"]
    prompt_tokens: int
    """Of a prompt, or of the shared prefix."""
    new_tokens: int
    concurrency: int
    rate: float = 0.0
    """Arrivals a second."""

    @property
    def name(self) -> str:
        if self.kind == "prefix":
            return f"shared prefix of {self.prompt_tokens}"
        how = f"{self.concurrency} at once" if self.kind == "burst" else f"{self.rate:.2f} a second (Poisson)"
        return f"prompts of {self.prompt_tokens}, {how}"

    @property
    def tokens(self) -> int:
        """Prompt and answer of its longest request."""
        return self.prompt_tokens + (2 * SUFFIX_TOKENS if self.kind == "prefix" else self.new_tokens)

    def workload(self, prompts: Prompts) -> Workload:
        """What is asked in one round."""
        if self.kind == "prefix":
            return prompts.shared_prefix(PREFIX_PAIRS, self.prompt_tokens)
        if self.kind == "poisson":
            return prompts.poisson(2 * self.concurrency, self.rate, self.prompt_tokens, self.new_tokens)
        count = max(self.concurrency, SEQUENTIAL)
        return prompts.burst(count, self.concurrency, self.prompt_tokens, self.new_tokens)

    def warm_up(self, prompts: Prompts) -> Workload:
        """The same shapes, briefly."""
        return prompts.burst(self.concurrency, self.concurrency, self.prompt_tokens, 4)

    def figures(self, timeline: Timeline) -> dict[str, float]:
        """What a round is worth."""
        figures = timeline.figures()
        if self.kind == "prefix":
            first = percentile(timeline.first_ms[0::2], 50)
            second = percentile(timeline.first_ms[1::2], 50)
            figures |= {
                "ttft_first_ms": round(first, 2),
                "ttft_second_ms": round(second, 2),
                "first_over_second": round(first / second, 2),
            }
        return figures


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Each figure's median over the rounds that have it."""
    names = dict.fromkeys(name for each in rounds for name in each)
    return {name: round(statistics.median(each[name] for each in rounds if name in each), 3) for name in names}
