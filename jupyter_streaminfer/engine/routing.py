"""Which version of a model answers whom, and what each of them did."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Literal

from jupyter_streaminfer.engine.arms import ArmFigures
from jupyter_streaminfer.engine.canary import Trial
from jupyter_streaminfer.engine.shadow import ShadowTraffic
from jupyter_streaminfer.protocol import ArmStatus, ErrorCode, Route, RouteStatus

HASH_BYTES = 8

_log = logging.getLogger(__name__)


class Choice:
    """A version that may be chosen, and how much of everyone it draws."""

    __slots__ = ("_draw", "version", "weight")

    def __init__(self, name: str, version: str, weight: float) -> None:
        self.version = version
        self.weight = weight
        self._draw = blake2b(f"{name}\0{version}\0".encode(), digest_size=HASH_BYTES)

    def distance(self, key: bytes) -> float:
        """Exponentially distributed over keys, with rate ``weight``: each version is nearest to its part of them."""
        draw = self._draw.copy()
        draw.update(key)
        # In the middle of its step, so that it is neither 0 nor, but for rounding, 1.
        return -math.log((int.from_bytes(draw.digest(), "big") + 0.5) / 256**HASH_BYTES) / self.weight


class Router:
    """One model's `Route`: it chooses a version for each key, and counts what becomes of the requests.

    The choice is weighted rendezvous hashing (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005): every
    version draws a number for the key, by a hash of names alone, and the nearest wins. It is the same in every process
    and after every restart. A version that comes, goes, or gets another weight moves only keys to it or from it, as few
    as can be. So a canary takes a part of every arm alike, gives each key back to the arm that had it, and keeps
    its keys when it becomes an arm with the same weight.
    """

    def __init__(
        self,
        name: str,
        route: Route,
        ready: Callable[[str], bool],
        wake: Callable[[str], None] = lambda version: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``ready`` says whether a version can answer now; ``wake`` is told of one that would be chosen and cannot."""
        self.name = name
        self.route = route
        self.rolled_back: str | None = None
        """Why the canary was taken out, if it was."""
        self.on_rolled_back: Callable[[], None] = lambda: None
        self.shadow = ShadowTraffic(name, route.shadow) if route.shadow else None
        self.since = clock()
        """When it was set."""
        self._ready = ready
        self._wake = wake
        self._clock = clock
        self._trial = Trial(route.canary) if route.canary else None
        self._figures = {version: ArmFigures() for version in self._weights()}
        self._choices: list[Choice] = []
        self._choose_among()

    @property
    def versions(self) -> frozenset[str]:
        """Those that requests go to or are copied to."""
        shadow = {self.route.shadow.version} if self.route.shadow else set()
        return frozenset({choice.version for choice in self._choices} | shadow)

    def role(self, version: str) -> Literal["arm", "canary", ""]:
        """What a version is that it chose; empty for one that it did not."""
        if version == self._canary:
            return "canary"
        return "arm" if any(choice.version == version for choice in self._choices) else ""

    def choose(self, key: str) -> str | None:
        """The version that answers the key's requests; None while no arm is ready: then there is no route.

        The part of a version that is not ready goes to the others, that of each key to the same one each time.
        """
        encoded = key.encode("utf-8", "surrogatepass")
        for choice in sorted(self._choices, key=lambda choice: choice.distance(encoded)):
            if self._ready(choice.version):
                return choice.version if choice.version != self._canary or self._any_arm() else None
            self._wake(choice.version)
        return None

    def restore(self, rolled_back: str | None) -> None:
        """Take up that the canary was taken out before."""
        if self._trial is not None and rolled_back is not None:
            self.rolled_back = rolled_back
            self._choose_among()

    # What becomes of the requests.

    def now(self) -> float:
        """When a request is dispatched, for `answered`."""
        return self._clock()

    def answered(self, version: str, since: float) -> None:
        """A question to that version was answered."""
        self.streamed(version, (self._clock() - since) * 1000)

    def streamed(self, version: str, first_ms: float | None) -> None:
        """A stream of that version came to its end in order, its first token after so long."""
        if (figures := self._figures.get(version)) is not None:
            figures.answered(first_ms)
            self._judge(version)

    def failed(self, version: str, code: ErrorCode) -> None:
        """A request to that version ended with an error."""
        if (figures := self._figures.get(version)) is not None:
            figures.failed(code)
            self._judge(version)

    def status(self) -> RouteStatus:
        """The route and the figures since it was set."""
        total = sum(figures.requests for figures in self._figures.values())
        canary = self.route.canary.version if self.route.canary else None
        arms: list[ArmStatus] = [
            self._figures[version].status(version, weight, "canary" if version == canary else "arm", total)
            for version, weight in self._weights().items()
        ]
        named = {*self._weights(), *([self.route.shadow.version] if self.route.shadow else [])}
        waiting = sorted(version for version in named if not self._ready(version))
        return RouteStatus(
            self.route, arms, self.shadow.status() if self.shadow else None, self.rolled_back, waiting=waiting
        )

    # The canary.

    @property
    def _canary(self) -> str | None:
        """The version that is on trial now."""
        return self.route.canary.version if self.route.canary and self.rolled_back is None else None

    def _judge(self, version: str) -> None:
        if self._trial is None or version != self._canary:
            return
        arms = [figures for each, figures in self._figures.items() if each != version]
        if (reason := self._trial.verdict(self._figures[version], arms)) is not None:
            self.rolled_back = f"Version {version} was taken out. {reason}"
            _log.warning("The canary of model %r is rolled back. %s", self.name, self.rolled_back)
            self._choose_among()
            self.on_rolled_back()

    def _any_arm(self) -> bool:
        """Whether any arm is ready: a canary does not answer everyone."""
        return any(self._ready(choice.version) for choice in self._choices if choice.version != self._canary)

    def _choose_among(self) -> None:
        self._choices = [Choice(self.name, version, weight) for version, weight in self._weights().items() if weight]

    def _weights(self) -> dict[str, float]:
        """Of the arms, and last of the canary, which is 0 once it was taken out."""
        canary = self.route.canary
        drawn = canary.weight if canary and self.rolled_back is None else 0.0
        weights = {arm.version: arm.weight * (1 - drawn) for arm in self.route.arms}
        return {**weights, canary.version: drawn} if canary else weights
