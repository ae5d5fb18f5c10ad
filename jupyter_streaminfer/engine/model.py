"""One version of a model: the worker that computes it, and what happens when that is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from msgspec import structs

from jupyter_streaminfer.engine.backoff import Backoff
from jupyter_streaminfer.engine.dispatch import Dispatch
from jupyter_streaminfer.protocol import (
    ErrorInfo,
    JobEvent,
    LoadProgress,
    ModelInfo,
    ModelSettings,
    ModelStatus,
    StreaminferError,
)
from jupyter_streaminfer.workers import ModelSpec, Worker, WorkerLostError, create

MAX_FAILURES = 6
"""Workers lost in a row that brought nothing; then the model has failed."""
FIRST_RESTART_S = 0.5
LONGEST_RESTART_S = 30.0
RESTART_MS = 1000.0
"""When to ask again for a model of which nobody knows how long its load takes."""
SOON_MS = 50.0
"""When to ask again for one that ought to be there already."""
GIVE_UP_S = 6.0
"""How long a worker that computes nothing may take to end; a thread that hangs in a load never does."""

_log = logging.getLogger(__name__)


class Model:
    """A version of a model. Its worker, when lost, is started again, and goes on with what it had."""

    def __init__(
        self,
        spec: ModelSpec,
        on_failed: Callable[[Model], None],
        on_unused: Callable[[Model], None] = lambda model: None,
        *,
        load_timeout_s: float = 600.0,
        expected_ms: float = 0.0,
    ) -> None:
        """``on_failed`` is told when the model can compute no more: its tasks are to be ended.

        ``on_unused`` is told when it has no request any more; ``expected_ms`` is how long its load took before.
        """
        self.spec = spec
        self.state: Literal["loading", "ready", "restarting", "retiring", "failed", "unloading", "unloaded"] = "loading"
        self.retired = False
        """Whether it takes no new request, and is freed when it has none."""
        self.asleep = False
        """Whether it was unloaded for nothing but being idle."""
        self.settings = ModelSettings()
        """What its batcher has, and gets again with each new worker."""
        self.loading: asyncio.Task[None] | None = None
        """Its load, while that waits or is under way."""
        self.freeing: asyncio.Task[None] | None = None
        """Its end, while that is under way."""
        self.info: ModelInfo | None = None
        self.error: ErrorInfo | None = None
        self.progress: LoadProgress | None = LoadProgress("waiting")
        self.reserved_bytes = 0
        """What it was let in with, of the budget of all models."""
        self.loaded_ms = 0.0
        self.active = 0
        self.requests = 0
        self.restarts = 0
        self.asked = self.used = time.monotonic()
        """When its load was asked for, and when its last request ended."""
        self.worker: Worker = create(spec)
        self.dispatch = Dispatch(self.worker)
        self.on_restarted: Callable[[], None] = lambda: None
        """Told when its worker was lost and there is another one."""
        self._on_failed = on_failed
        self._on_unused = on_unused
        self._load_timeout_s = load_timeout_s
        self._expected_ms = expected_ms
        self._backoff = Backoff(FIRST_RESTART_S, LONGEST_RESTART_S)
        self._stopped = False
        self._starting: asyncio.Task[ModelInfo] | None = None
        self._restart_task: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> bool:
        """Whether it takes memory, or is about to."""
        return self.state not in ("failed", "unloaded")

    @property
    def broken(self) -> bool:
        """Whether it answered before, and its worker is lost."""
        return self.info is not None and self.error is not None and self.error.code == "worker_lost"

    def memory_bytes(self, resident_bytes: int = 0) -> int:
        """What it takes; ``resident_bytes`` is what its process has, where it has one."""
        if self.info is None or not self.loaded:
            return 0
        return max(self.info.weight_bytes + self.info.cache_bytes, resident_bytes)

    def status(self, *, latest: bool = True, pinned: bool = False, resident_bytes: int = 0) -> ModelStatus:
        """The model as the world sees it."""
        now = time.monotonic()
        return ModelStatus(
            name=self.spec.name,
            version=self.spec.version,
            state=self.state,
            path=str(self.spec.path),
            placement=self.worker.placement,
            latest=latest,
            pinned=pinned,
            progress=self.progress if self.state == "loading" else None,
            loaded_ms=round(self.loaded_ms, 1),
            age_s=round(now - self.asked, 3),
            idle_s=0.0 if self.active else round(now - self.used, 3),
            memory_bytes=self.memory_bytes(resident_bytes),
            active=self.active,
            requests=self.requests,
            restarts=self.restarts,
            info=self.info,
            error=self.error,
            stats=self.worker.stats() if self.loaded else None,
        )

    def enter(self) -> None:
        """One more request is under way."""
        self.active += 1

    def leave(self) -> None:
        """One of them has ended."""
        self.active -= 1
        if not self.active:
            self.used = time.monotonic()
            self._on_unused(self)

    def retry_after_ms(self) -> float:
        """When to ask again while it is being loaded or started."""
        if self.state != "loading" or not self._expected_ms:
            return RESTART_MS
        return max(SOON_MS, self._expected_ms - (time.monotonic() - self.asked) * 1000)

    async def load(self) -> None:
        """Start the worker. Raises `StreaminferError` with the reason when the model cannot be loaded."""
        if self._stopped:
            raise self._unloaded()
        began = time.monotonic()
        self.progress = LoadProgress("starting")
        self._starting = asyncio.create_task(self._start())
        try:
            self.info = await self._starting
        except StreaminferError as error:
            self.error = error.info
            await self._give_up()
            if not self._stopped:
                self.state = "failed"
            raise
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            raise self._unloaded() from None
        self.loaded_ms = (time.monotonic() - began) * 1000
        self.used = time.monotonic()
        self.error = None
        self.state = "ready"

    async def stop(self) -> None:
        """Stop the worker, also one that is about to be; a load under way is given up."""
        self._stopped = True
        self.state = "unloading"
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
            await self._give_up()
        else:
            if self._restart_task is not None:
                self._restart_task.cancel()
                await asyncio.wait([self._restart_task])
            await self.worker.stop()
        self.state = "unloaded"

    def configure(self, settings: ModelSettings) -> None:
        """Have its batcher do as the settings say, now and with each new worker."""
        self.settings = settings
        if self.state in ("ready", "retiring"):
            self._apply()

    def retire(self) -> None:
        """Take no new request."""
        self.retired = True
        if self.state == "ready":
            self.state = "retiring"

    def serve(self) -> None:
        """Take requests again."""
        self.retired = False
        if self.state == "retiring":
            self.state = "ready"

    async def _start(self) -> ModelInfo:
        worker = self.worker
        try:
            async with asyncio.timeout(self._load_timeout_s):
                info = await worker.start(self._on_events, partial(self._lost, worker), self._on_progress)
        except TimeoutError:
            raise StreaminferError("deadline", self._too_long()) from None
        self._apply()
        return info

    def _apply(self) -> None:
        if structs.replace(self.settings, pinned=None) != ModelSettings():
            self.worker.configure(self.settings)

    def _unloaded(self) -> StreaminferError:
        return StreaminferError("cancelled", f"Model {self.spec.name!r} was unloaded before it was loaded.")

    def _too_long(self) -> str:
        stage = self.progress.stage if self.progress else "starting"
        found = (
            f"Loading {self.spec.path} took longer than {self._load_timeout_s:g} s (it was {stage}) and was given up"
        )
        limit = "the server's c.StreaminferApp.load_timeout_s sets this bound."
        if self.spec.placement == "process":
            return f"{found}; its process was killed. Have it load faster; {limit}"
        return (
            f'{found}; its thread cannot be ended and goes on by itself. Load it with placement "process", which can '
            f"be, or have it load faster; {limit}"
        )

    async def _give_up(self) -> None:
        """Wait until a worker that did not start, or was lost, is gone; but not for a thread that hangs."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_UP_S):
                await self.worker.stop()

    def _on_progress(self, progress: LoadProgress) -> None:
        self.progress = progress

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
            await self._give_up()
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
        self.on_restarted()
        self.error = None
        self.state = "retiring" if self.retired else "ready"
        self.dispatch.restarted(self.worker)

    def _fail(self) -> None:
        assert self.error is not None  # noqa: S101 (set by whoever calls)
        self.error = ErrorInfo(self.error.code, f"{self.error.message} Load it again.")
        self.state = "failed"
        self._on_failed(self)
