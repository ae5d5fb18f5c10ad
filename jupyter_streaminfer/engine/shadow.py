"""Shadow traffic: a version that is asked too, and whose answers are compared and not returned."""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from jupyter_streaminfer.engine.compare import Comparison, compare
from jupyter_streaminfer.engine.intervals import share
from jupyter_streaminfer.protocol import OutputKind, Predict, Result, Shadow, ShadowStatus, StreaminferError

if TYPE_CHECKING:
    from jupyter_streaminfer.engine.question import Answer, OnAnswer

MAX_UNDER_WAY = 64
"""Copies that are being answered or compared; a shadow that does not keep up gets no more."""
LOWEST_PRIORITY = -100
INLINE_BYTES = 16 * 1024
"""Longer answers are compared on another thread than the event loop's."""


class ShadowTraffic:
    """Decides which requests are copied, and keeps the figures.

    Which are is decided by a hash of their inputs: the same ones every time, however often they come.
    """

    def __init__(self, name: str, shadow: Shadow) -> None:
        self.shadow = shadow
        self._under_way = 0
        self._draw = blake2b(f"{name}\0{shadow.version}\0".encode(), digest_size=8)
        self._compared = 0
        self._alike = 0
        self._largest = 0.0
        self._errors = 0
        self._dropped = 0

    def wants(self, request: Predict) -> bool:
        """Whether a copy of the request is to be sent."""
        if self.shadow.fraction >= 1.0:
            return True
        draw = self._draw.copy()
        draw.update(bytes(request.inputs))
        return int.from_bytes(draw.digest(), "big") < self.shadow.fraction * 2**64

    def begin(self, *, ready: bool) -> bool:
        """Whether one more copy can be sent now; one that cannot is counted."""
        if not ready or self._under_way >= MAX_UNDER_WAY:
            self._dropped += 1
            return False
        self._under_way += 1
        return True

    def end(self) -> None:
        """A copy that was begun is answered."""
        self._under_way -= 1

    def settle(self, kind: OutputKind, first: Answer | StreaminferError, second: Answer | StreaminferError) -> None:
        """Both answers to a request are there."""
        if not isinstance(first, Result):
            return  # there is nothing that the shadow should have said
        if not isinstance(second, Result):
            # One that was refused because its model was unloaded says nothing of the model.
            self._errors += not isinstance(second, StreaminferError) or second.code != "cancelled"
            return
        one, other = bytes(first.outputs), bytes(second.outputs)
        if len(one) + len(other) <= INLINE_BYTES:
            self._count(_compare(kind, one, other, self.shadow.tolerance))
            return
        self._under_way += 1
        elsewhere = asyncio.get_running_loop().run_in_executor(None, _compare, kind, one, other, self.shadow.tolerance)
        elsewhere.add_done_callback(self._compared_elsewhere)

    def status(self) -> ShadowStatus:
        """The figures so far."""
        return ShadowStatus(
            version=self.shadow.version,
            compared=self._compared,
            agreement=share(self._alike, self._compared),
            largest_difference=self._largest,
            errors=self._errors,
            dropped=self._dropped,
        )

    def _compared_elsewhere(self, found: asyncio.Future[Comparison | None]) -> None:
        self._under_way -= 1
        if not found.cancelled():
            self._count(found.result())

    def _count(self, found: Comparison | None) -> None:
        if found is None:
            self._errors += 1
            return
        self._compared += found.rows
        self._alike += found.alike
        self._largest = max(self._largest, found.largest)


class Copy:
    """One request's copy: waits for both answers, in whichever order they come, and has them compared."""

    def __init__(self, traffic: ShadowTraffic, kind: OutputKind, request: Predict) -> None:
        # It goes behind everyone else's requests, and nobody waits for it.
        self.request = structs.replace(request, priority=LOWEST_PRIORITY, deadline_ms=None, cache=False)
        self.version = traffic.shadow.version
        self._traffic = traffic
        self._kind = kind
        self._first: Answer | StreaminferError | None = None
        self._second: Answer | StreaminferError | None = None

    def watch(self, on_answer: OnAnswer) -> OnAnswer:
        """What the original's answer is to be told to: the asker hears of it first."""

        def told(answer: Answer | StreaminferError) -> None:
            on_answer(answer)
            self._first = answer
            self._meet()

        return told

    def begin(self, *, ready: bool) -> bool:
        """Whether it can be sent; to be asked when the original is on its way."""
        return self._traffic.begin(ready=ready)

    def answered(self, answer: Answer | StreaminferError) -> None:
        """The copy's own answer; the original's may never come, if its asker takes it back."""
        self._traffic.end()
        self._second = answer
        self._meet()

    def _meet(self) -> None:
        if self._first is not None and self._second is not None:
            self._traffic.settle(self._kind, self._first, self._second)


def _compare(kind: OutputKind, one: bytes, other: bytes, tolerance: float) -> Comparison | None:
    try:
        return compare(kind, one, other, tolerance)
    except (msgspec.MsgspecError, RecursionError):
        return None  # the shadow's answers are of another kind, or none that can be read
