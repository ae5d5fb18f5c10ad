"""The thread placement: the step loop on a thread of this process, one event-loop callback a step."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from jupyter_streaminfer.inference.faults import HungError, device_lost
from jupyter_streaminfer.protocol import (
    Job,
    JobEvent,
    LoadProgress,
    ModelInfo,
    ModelSettings,
    ModelStats,
    StreaminferError,
)
from jupyter_streaminfer.workers.base import ModelSpec, OnDeath, OnEvents, OnProgress, WorkerLostError, untold
from jupyter_streaminfer.workers.commands import CancelJob, Command, Configure, PauseJob, ResumeJob, Stop
from jupyter_streaminfer.workers.loading import load
from jupyter_streaminfer.workers.loop import StepLoop
from jupyter_streaminfer.workers.progress import Progress
from jupyter_streaminfer.workers.turn import Turn

if TYPE_CHECKING:
    from jupyter_streaminfer.inference.runtime import Runtime

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0005
"""How long the event loop waits at most for a computing thread to let go of the interpreter; Python's own is 5 ms."""


class ThreadWorker:
    """One model version on a thread of its own. torch is imported, and the model lives, on that thread only."""

    placement = "thread"
    pid: int | None = None

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._runtime: Runtime | None = None
        self._steps = StepLoop(self._tell, late=True)
        self._turn: Turn[Command | None] = Turn(self._steps.put_all)
        self._ended: asyncio.Event | None = None
        """Set when the thread has come to its end; none before `start`."""

    async def start(self, on_events: OnEvents, on_death: OnDeath, on_progress: OnProgress = untold) -> ModelInfo:
        """See `Worker.start`."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._on_events = on_events
        self._on_death = on_death
        self._on_progress = on_progress
        self._ready: asyncio.Future[ModelInfo] = loop.create_future()
        self._ended = ended = asyncio.Event()
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
        threading.Thread(target=self._run, args=(ended,), name=f"streaminfer-{self._spec.name}", daemon=True).start()
        try:
            return await self._ready
        except BaseException:
            self._steps.put(Stop())
            raise

    def stats(self) -> ModelStats | None:
        """See `Worker.stats`."""
        runtime = self._runtime  # read once: the other thread may end meanwhile
        return None if runtime is None else runtime.stats()

    def submit(self, job: Job) -> None:
        """See `Worker.submit`."""
        self._turn.put(job)

    def cancel(self, job: str) -> None:
        """See `Worker.cancel`."""
        self._turn.put(CancelJob(job))

    def pause(self, job: str) -> None:
        """See `Worker.pause`."""
        self._turn.put(PauseJob(job))

    def resume(self, job: str) -> None:
        """See `Worker.resume`."""
        self._turn.put(ResumeJob(job))

    def configure(self, settings: ModelSettings) -> None:
        """See `Worker.configure`."""
        self._turn.put(Configure(settings))

    async def stop(self) -> None:
        """See `Worker.stop`."""
        if self._ended is not None:
            self._turn.put(Stop())
            await self._ended.wait()

    # On the worker's thread.

    def _run(self, ended: asyncio.Event) -> None:
        try:
            self._compute()
        finally:
            self._runtime = None
            gc.unfreeze()  # what belonged to the model is to be found
            self._post(ended.set)

    def _compute(self) -> None:
        try:
            runtime = load(self._spec, Progress(self._report))
        except StreaminferError as error:
            refusal = error.with_traceback(None)  # which would keep what was loaded
            refusal.__cause__ = refusal.__context__ = None
            self._post(lambda: self._settle(refusal))
            return
        # torch is half a million objects: to look through them for garbage would hold the event loop up for 0.2 s.
        gc.freeze()
        self._runtime = runtime
        info = runtime.info
        self._post(lambda: self._settle(info))
        try:
            self._steps.run(runtime)
        except Exception as error:
            log.exception("The worker thread of model %s stops", self._spec.name)
            reason = _loss(error)
            self._post(lambda: self._on_death(reason))

    def _tell(self, events: list[JobEvent]) -> None:
        self._post(lambda: self._on_events(events))

    def _report(self, progress: LoadProgress) -> None:
        self._post(lambda: self._on_progress(progress))

    def _post(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop was closed without `stop`: nobody is left to be told.
            self._steps.put(Stop())

    # Back on the loop.

    def _settle(self, outcome: ModelInfo | StreaminferError) -> None:
        if self._ready.cancelled():
            return
        if isinstance(outcome, ModelInfo):
            self._ready.set_result(outcome)
        else:
            self._ready.set_exception(outcome)


def _loss(error: Exception) -> WorkerLostError:
    what = f"its thread stopped: {type(error).__name__}: {error}."
    if isinstance(error, HungError):
        return WorkerLostError(
            f'{what} Threads cannot be ended: restart the server, and load the model with placement "process".',
            restartable=False,
        )
    if not device_lost(error):
        return WorkerLostError(what)
    return WorkerLostError(
        f"{what} After a CUDA error this process can use its GPU no more: restart the server, and load the model with "
        'placement "process", where another process takes over.',
        restartable=False,
    )
