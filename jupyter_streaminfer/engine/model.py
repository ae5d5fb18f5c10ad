"""One model of the engine: the worker that computes it, and what happens when that is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from jupyter_streaminfer.engine.backoff import Backoff
from jupyter_streaminfer.engine.dispatch import Dispatch
from jupyter_streaminfer.protocol import ErrorInfo, JobEvent, ModelInfo, ModelStatus, StreaminferError
from jupyter_streaminfer.workers import ModelSpec, Worker, WorkerLostError, create

MAX_FAILURES = 6
"""Workers lost in a row that brought nothing; then the model has failed."""
FIRST_RESTART_S = 0.5
LONGEST_RESTART_S = 30.0

_log = logging.getLogger(__name__)


class Model:
    """A version of a model. Its worker, when lost, is started again, and goes on with what it had."""

    def __init__(self, spec: ModelSpec, on_failed: Callable[[Model], None]) -> None:
        """``on_failed`` is told when the model can compute no more: its tasks are to be ended."""
        self.spec = spec
        self.state: Literal["loading", "ready", "restarting", "failed", "unloading"] = "loading"
        self.info: ModelInfo | None = None
        self.error: ErrorInfo | None = None
        self.loaded_ms = 0.0
        self.active = 0
        self.requests = 0
        self.restarts = 0
        self.worker: Worker = create(spec)
        self.dispatch = Dispatch(self.worker)
        self._on_failed = on_failed
        self._backoff = Backoff(FIRST_RESTART_S, LONGEST_RESTART_S)
        self._restart_task: asyncio.Task[None] | None = None

    def status(self) -> ModelStatus:
        """The model as the world sees it."""
        return ModelStatus(
            name=self.spec.name,
            version=self.spec.version,
            state=self.state,
            path=str(self.spec.path),
            placement=self.worker.placement,
            loaded_ms=round(self.loaded_ms, 1),
            active=self.active,
            requests=self.requests,
            restarts=self.restarts,
            info=self.info,
            error=self.error,
            stats=self.worker.stats(),
        )

    async def load(self) -> None:
        """Start the worker. Raises `StreaminferError` with the reason when the model cannot be loaded."""
        began = time.monotonic()
        try:
            self.info = await self._start()
        except StreaminferError as error:
            self.error = error.info
            self.state = "failed"
            raise
        self.loaded_ms = (time.monotonic() - began) * 1000
        self.state = "ready"

    async def stop(self) -> None:
        """Stop the worker, also one that is about to be."""
        self.state = "unloading"
        if self._restart_task is not None:
            self._restart_task.cancel()
            await asyncio.wait([self._restart_task])
        await self.worker.stop()

    async def _start(self) -> ModelInfo:
        return await self.worker.start(self._on_events, partial(self._lost, self.worker))

    def _on_events(self, events: list[JobEvent]) -> None:
        self._backoff.succeeded()
        self.dispatch.on_events(events)

    def _lost(self, worker: Worker, reason: WorkerLostError) -> None:
        if worker is not self.worker or self.state == "unloading":
            return
        self.error = ErrorInfo("worker_lost", f"The worker of model {self.spec.name!r} was lost: {reason}")
        delay_s = self._backoff.failed()
        if not reason.restartable or self._backoff.failures >= MAX_FAILURES:
            _log.error("%s It is not started again.", self.error.message)
            self._fail()
            return
        _log.warning("%s It is started again in %g s.", self.error.message, delay_s)
        self.state = "restarting"
        self.dispatch.lost(self.error)
        self._restart_task = asyncio.create_task(self._restart(delay_s))

    async def _restart(self, delay_s: float) -> None:
        while True:
            await self.worker.stop()
            await asyncio.sleep(delay_s)
            self.worker = create(self.spec)
            try:
                self.info = await self._start()
                break
            except StreaminferError as error:
                self.error = ErrorInfo(
                    "worker_lost", f"The worker of model {self.spec.name!r} could not be started again: {error}"
                )
                delay_s = self._backoff.failed()
                if self._backoff.failures >= MAX_FAILURES:
                    _log.error(self.error.message)
                    self._fail()
                    return
        self._restart_task = None
        self.restarts += 1
        self.error = None
        self.state = "ready"
        self.dispatch.restarted(self.worker)

    def _fail(self) -> None:
        assert self.error is not None  # noqa: S101 (set by whoever calls)
        self.error = ErrorInfo(self.error.code, f"{self.error.message} Load it again.")
        self.state = "failed"
        self._on_failed(self)
