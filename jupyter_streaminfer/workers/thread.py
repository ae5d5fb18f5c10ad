"""The thread placement: the step loop on a thread of this process, one event-loop callback a step."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from jupyter_streaminfer.protocol import Job, JobEvent, ModelInfo, ModelStats, StreaminferError
from jupyter_streaminfer.workers.base import ModelSpec, OnDeath, OnEvents

if TYPE_CHECKING:
    from jupyter_streaminfer.inference.runtime import Runtime

NICENESS = 10
"""How much lower than the event loop's the computing threads' priority is, so that the server still feels idle."""
SWITCH_INTERVAL_S = 0.0005
"""How long the event loop waits at most for a computing thread to let go of the interpreter; Python's own is 5 ms."""


class ThreadWorker:
    """One model version on a thread of its own. torch is imported, and the model lives, on that thread only."""

    placement = "thread"

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._runtime: Runtime | None = None
        self._jobs: queue.SimpleQueue[Job | str | None] = queue.SimpleQueue()
        """What the loop asks for: a job, the id of one to cancel, or None to stop."""
        self._events: list[JobEvent] = []
        """What the loop was not told yet."""

    async def start(self, on_events: OnEvents, on_death: OnDeath) -> ModelInfo:
        """See `Worker.start`."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._on_events = on_events
        self._on_death = on_death
        self._ready: asyncio.Future[ModelInfo] = loop.create_future()
        self._ended = asyncio.Event()
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
        threading.Thread(target=self._run, name=f"streaminfer-{self._spec.name}", daemon=True).start()
        return await self._ready

    def stats(self) -> ModelStats | None:
        """See `Worker.stats`."""
        runtime = self._runtime  # read once: the other thread may end meanwhile
        return None if runtime is None else runtime.stats()

    def submit(self, job: Job) -> None:
        """See `Worker.submit`."""
        self._jobs.put(job)

    def cancel(self, job: str) -> None:
        """See `Worker.cancel`."""
        self._jobs.put(job)

    async def stop(self) -> None:
        """See `Worker.stop`."""
        self._jobs.put(None)
        await self._ended.wait()

    # On the worker's thread.

    def _run(self) -> None:
        _lower_priority()
        try:
            self._compute()
        finally:
            self._runtime = None
            self._post(self._ended.set)

    def _compute(self) -> None:
        bounds = self._spec.bounds
        try:
            from jupyter_streaminfer.inference.load import load_runtime

            runtime = load_runtime(
                self._spec.path,
                dtype=self._spec.dtype,
                max_batch_size=bounds.max_batch_size,
                max_wait_ms=bounds.max_wait_ms,
                max_queue=bounds.max_queue,
                step_tokens=bounds.step_tokens,
                cache_bytes=bounds.cache_bytes,
                threads=bounds.threads or _spare_cores(),
            )
            runtime.warm_up()
            self._runtime = runtime
        except Exception as error:
            reason = error
            self._post(lambda: self._settle(reason))
            return
        info = runtime.info
        self._post(lambda: self._settle(info))
        # A step's events are posted when the next one lets go of the interpreter: posted earlier they would wake
        # the event loop only to wait for it.
        runtime.before_compute = self._tell
        try:
            while True:
                for command in self._commands(runtime.due_in()):
                    if command is None:
                        return
                    if isinstance(command, str):
                        runtime.cancel(command)
                    elif event := runtime.submit(command):
                        self._events.append(event)
                if runtime.due_in() == 0:
                    brought = runtime.step()
                    self._events += brought  # to the list that is there now: the step has posted the one before
                if runtime.due_in() != 0:
                    self._tell()
        except Exception as error:
            reason = error
            self._tell()
            self._post(lambda: self._on_death(reason))

    def _commands(self, due_in: float | None) -> list[Job | str | None]:
        """All that was asked since; waits for something to do when there is nothing to compute."""
        commands: list[Job | str | None] = []
        try:
            if due_in is None or due_in > 0:
                commands.append(self._jobs.get(timeout=due_in))
            while True:
                commands.append(self._jobs.get_nowait())
        except queue.Empty:
            return commands

    def _tell(self) -> None:
        if events := self._events:
            self._events = []
            self._post(lambda: self._on_events(events))

    def _post(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop was closed without `stop`: nobody is left to be told.
            self._jobs.put(None)

    # Back on the loop.

    def _settle(self, outcome: ModelInfo | Exception) -> None:
        if self._ready.cancelled():
            return
        if isinstance(outcome, ModelInfo):
            self._ready.set_result(outcome)
        elif isinstance(outcome, StreaminferError):
            self._ready.set_exception(outcome)
        else:
            self._ready.set_exception(
                StreaminferError("internal", f"Loading {self._spec.path} failed: {type(outcome).__name__}: {outcome}")
            )


def _spare_cores() -> int:
    """All cores but the one that the event loop and its clients need.

    Computing threads that wait for one another at every operation, and for a core besides, are many times
    slower than fewer of them.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores - 1)


def _lower_priority() -> None:
    """Yield to the event loop whenever it wants a core; threads started from here inherit it.

    Linux alone gives single threads a priority of their own; elsewhere the call would slow the whole server.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
