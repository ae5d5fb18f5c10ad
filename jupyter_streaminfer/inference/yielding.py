"""The runtime of a model that yields: each of its generators has a thread, and a step gathers what they brought."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from jupyter_streaminfer.inference.fairness import Fairness
from jupyter_streaminfer.inference.faults import HungError
from jupyter_streaminfer.inference.inputs import InputReader
from jupyter_streaminfer.inference.pull import Pull
from jupyter_streaminfer.protocol import (
    Admitted,
    ErrorInfo,
    Finished,
    Job,
    JobEvent,
    JobFailed,
    ModelInfo,
    ModelSettings,
    ModelStats,
    Rejected,
    RunJob,
    Started,
    StreaminferError,
)

LEAVE_S = 5.0
"""How long a generator that was cancelled keeps its place at most; then it hangs and is given up."""
CLOSE_S = 1.0
"""How long the generators' own ends are waited for when the model is stopped."""

_log = logging.getLogger(__name__)


@dataclass(order=True, slots=True, frozen=True)
class _Waiting:
    tag: int
    arrival: int
    job: str
    inputs: Any


class Yielding:
    """A `Runtime` over a generator function, ordinary or asynchronous, of one argument: a request's inputs.

    They are plain JSON; for a model with a signature the checked rows, as an array or a list, or a dict of these
    where it has several inputs.

    A text that it yields is text of the stream, anything else a value of it. A slow generator holds up no other: so
    many run side by side, the others wait in turn. A generator is closed at its next ``yield`` when its stream is
    cancelled; too many that never come to one raise `HungError` from `step`, for their threads cannot be ended.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        info: ModelInfo,
        *,
        max_running: int,
        max_queue: int,
        leave_s: float = LEAVE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``max_running``: generators at once, and those that may hang; ``max_queue``: those that wait for a place."""
        self.info = info
        self.before_compute: Callable[[], object] = lambda: None
        self.wake: Callable[[], object] = lambda: None
        self._function = function
        self._reader = InputReader(info.signature) if info.signature else None
        self._max_running = max_running
        self._max_queue = max_queue
        self._leave_s = leave_s
        self._clock = clock
        self._fairness = Fairness()
        self._arrivals = 0
        self._waiting: list[_Waiting] = []
        """A heap."""
        self._running: dict[str, Pull] = {}
        self._leaving: dict[Pull, float] = {}
        """Those that were cancelled and have a place still: until when."""
        self._hung: set[Pull] = set()

    def warm_up(self) -> None:
        """See `Runtime.warm_up`: what a generator function takes is not known here."""

    def submit(self, job: Job) -> JobEvent | None:
        """Read the inputs and queue the job: `Admitted`, or `Rejected`."""
        try:
            if not isinstance(job, RunJob):
                message = "this model yields a stream; ask for it with run"
                raise StreaminferError("invalid_request", message, field="model")
            if len(self._waiting) >= self._max_queue:
                message = f"{self._max_queue} requests wait for a place in this model already; try again later"
                raise StreaminferError("overloaded", message, retryable=True)
            inputs = self._inputs(job.inputs)
            tag = self._fairness.enter(job.job, job.client, 1)
        except StreaminferError as error:
            return Rejected(job.job, error.info)
        self._arrivals += 1
        heapq.heappush(self._waiting, _Waiting(tag, self._arrivals, job.job, inputs))
        return Admitted(job.job, 0)

    def cancel(self, job: str) -> None:
        """See `Runtime.cancel`; its place is free once its generator is closed, or given up."""
        if (pull := self._running.pop(job, None)) is not None:
            self._fairness.leave(job)
            pull.cancel()
            self._leaving[pull] = self._clock() + self._leave_s
            return
        kept = [each for each in self._waiting if each.job != job]
        if len(kept) < len(self._waiting):
            self._fairness.leave(job)
            heapq.heapify(kept)
            self._waiting = kept

    def pause(self, job: str) -> None:
        """See `Runtime.pause`: its generator is asked for nothing more."""
        if (pull := self._running.get(job)) is not None:
            pull.pause()

    def resume(self, job: str) -> None:
        """See `Runtime.resume`."""
        if (pull := self._running.get(job)) is not None:
            pull.resume()

    def configure(self, settings: ModelSettings) -> None:
        """See `Runtime.configure`: it batches nothing."""

    def due_in(self) -> float | None:
        """See `Runtime.due_in`; what a generator brings meanwhile is told by `wake`."""
        if any(pull.ready for pull in self._running.values()) or (self._waiting and self._has_place()):
            return 0
        if any(pull.ended for pull in self._leaving):
            return 0
        if self._leaving:
            return max(0.0, min(self._leaving.values()) - self._clock())
        return None

    def stats(self) -> ModelStats:
        """How many generators run, and how many requests wait for a place."""
        return ModelStats(len(self._running), len(self._waiting), 0, 0.0, 0, 0)

    def step(self) -> list[JobEvent]:
        """Gather what the generators brought, and begin those that have a place now."""
        self.before_compute()
        events: list[JobEvent] = []
        for pull in list(self._running.values()):
            if pull.ready:
                events += pull.take()
                if isinstance(events[-1], Finished | JobFailed):
                    del self._running[pull.job]
                    self._fairness.leave(pull.job)
        self._let_go()
        while self._waiting and self._has_place():
            events.append(self._begin(heapq.heappop(self._waiting)))
        return events

    def close(self) -> None:
        """See `Threaded.close`."""
        until = time.monotonic() + CLOSE_S
        pulls = [*self._running.values(), *self._leaving]
        for pull in pulls:
            pull.cancel()
        for pull in pulls:
            pull.join(max(0.0, until - time.monotonic()))

    def _inputs(self, text: bytes) -> Any:
        if self._reader is not None:
            columns = self._reader.read(text).columns
            return columns if len(columns) > 1 else next(iter(columns.values()))
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StreaminferError("invalid_request", f"inputs cannot be read: {error}", field="inputs") from None

    def _has_place(self) -> bool:
        return len(self._running) + len(self._leaving) < self._max_running

    def _begin(self, waiting: _Waiting) -> Started | JobFailed:
        job = waiting.job
        self._fairness.begin(job)
        pull = Pull(job, self._function, waiting.inputs, self._woken)
        try:
            pull.start()
        except RuntimeError as error:  # the system gives no thread
            self._fairness.leave(job)
            return JobFailed(job, ErrorInfo("overloaded", f"The model cannot begin just now: {error}.", True))
        self._running[job] = pull
        return Started(job, 0.0)

    def _woken(self) -> None:
        self.wake()  # looked up now: it is set after a pull may have begun

    def _let_go(self) -> None:
        """Free the places of cancelled generators that are closed, or that took too long for it."""
        now = self._clock()
        self._hung = {pull for pull in self._hung if not pull.ended}
        for pull, until in list(self._leaving.items()):
            if pull.ended or until <= now:
                del self._leaving[pull]
            if not pull.ended and until <= now:
                self._hung.add(pull)
                _log.warning("Stream %s was cancelled, but its generator comes to no yield: given up", pull.job)
        if len(self._hung) > self._max_running:
            raise HungError(f"{len(self._hung)} of its generators were cancelled and come to no yield")
