"""What is asked of a subject: requests, when each is due, and how many may be under way.

Standard library only: peers read it in environments of their own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SUFFIX_TOKENS = 16
"""What follows a shared prefix, and how many new tokens are asked for after it."""


@dataclass(frozen=True)
class Request:
    """One generation: greedy, exactly ``max_tokens`` new tokens."""

    due: float
    """Seconds after the beginning before which it is not sent."""
    token_ids: list[int]
    max_tokens: int


@dataclass(frozen=True)
class Workload:
    """Requests in the order in which they are sent."""

    requests: list[Request]
    concurrency: int = 0
    """At most so many are under way; 0: each is sent when it is due, whatever the others do."""
    seconds: float = float("inf")
    """After that, no further request is sent."""

    @classmethod
    def of(cls, values: dict) -> Workload:  # type: ignore[type-arg]
        """From what ``dataclasses.asdict`` made of one."""
        requests = [Request(**each) for each in values["requests"]]
        return cls(requests, values["concurrency"], values["seconds"])


class Pace:
    """Which of a workload's requests are to be sent now."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.sent = 0

    def done(self, now: float) -> bool:
        """Whether nothing more is to be sent, ``now`` seconds after the beginning."""
        return self.sent == len(self.workload.requests) or now >= self.workload.seconds

    def start(self, now: float, under_way: int) -> list[int]:
        """The indices of the requests to send now."""
        first = self.sent
        while not self.done(now) and self.workload.requests[self.sent].due <= now and self._room(under_way, first):
            self.sent += 1
        return list(range(first, self.sent))

    def wait(self, now: float, under_way: int) -> float | None:
        """Seconds until there may be something to send; None: not before a request ends."""
        if self.done(now) or not self._room(under_way, self.sent):
            return None
        return max(0.0, self.workload.requests[self.sent].due - now)

    def since(self, index: int, now: float) -> float:
        """Where the request's time to first token begins: when it was due, or later, when it got its place."""
        return now if self.workload.concurrency else self.workload.requests[index].due

    def _room(self, under_way: int, first: int) -> bool:
        limit = self.workload.concurrency
        return not limit or under_way + self.sent - first < limit


class Prompts:
    """Random token ids, the same for every subject that is given the same seed."""

    def __init__(self, vocabulary: int, seed: str) -> None:
        self.vocabulary = vocabulary
        self.random = random.Random(seed)

    def draw(self, tokens: int) -> list[int]:
        return [self.random.randrange(self.vocabulary) for _ in range(tokens)]

    def burst(self, count: int, concurrency: int, prompt_tokens: int, new_tokens: int) -> Workload:
        """``count`` requests, the first ``concurrency`` of them at once, each further one when another ends."""
        return Workload([Request(0.0, self.draw(prompt_tokens), new_tokens) for _ in range(count)], concurrency)

    def poisson(self, count: int, rate: float, prompt_tokens: int, new_tokens: int) -> Workload:
        """``count`` requests that arrive independently, ``rate`` a second on average, however long answers take."""
        due, requests = 0.0, []
        for _ in range(count):
            due += self.random.expovariate(rate)
            requests.append(Request(due, self.draw(prompt_tokens), new_tokens))
        return Workload(requests)

    def shared_prefix(self, pairs: int, prefix_tokens: int) -> Workload:
        """Pairs of requests, one after another; the two of a pair begin with the same ``prefix_tokens``."""
        requests = []
        for _ in range(pairs):
            prefix = self.draw(prefix_tokens)
            requests += [Request(0.0, prefix + self.draw(SUFFIX_TOKENS), SUFFIX_TOKENS) for _ in range(2)]
        return Workload(requests, concurrency=1)

    def closed_loop(
        self, count: int, concurrency: int, prompt_tokens: int, mean_tokens: int, most: int, seconds: float
    ) -> Workload:
        """Requests whose lengths are drawn, so that they do not begin and end together.

        Exponential lengths (at most ``most``) make the moments at which requests end, and the next ones
        arrive, a Poisson process.
        """
        lengths = [min(most, 1 + int(self.random.expovariate(1 / mean_tokens))) for _ in range(count)]
        return Workload([Request(0.0, self.draw(prompt_tokens), each) for each in lengths], concurrency, seconds)
