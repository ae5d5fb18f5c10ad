"""The process placement: the step loop in a child process, whose death is one model's and not the server's."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import ClassVar

import msgspec

from jupyter_streaminfer.protocol import (
    ErrorInfo,
    Job,
    JobEvent,
    ModelInfo,
    ModelSettings,
    ModelStats,
    Rejected,
    StreaminferError,
)
from jupyter_streaminfer.workers.base import ModelSpec, OnDeath, OnEvents, OnProgress, WorkerLostError, untold
from jupyter_streaminfer.workers.channel import Channel, Loopback, SocketPair
from jupyter_streaminfer.workers.child_process import ChildProcess
from jupyter_streaminfer.workers.commands import CancelJob, Configure, PauseJob, ResumeJob, Stop
from jupyter_streaminfer.workers.connection import Connection
from jupyter_streaminfer.workers.frames import FrameTooLongError, frame
from jupyter_streaminfer.workers.messages import (
    Broken,
    Events,
    Heartbeat,
    Hello,
    Loaded,
    Loading,
    Refused,
    decode_message,
    encode,
)
from jupyter_streaminfer.workers.watch import HEARTBEAT_S, STALL_S, Watch

log = logging.getLogger(__name__)

DRAIN_S = 1.0
"""How long the last messages of a process that ended are waited for, and the end of one that hung up."""
STOP_S, TERMINATE_S, KILL_S = 2.0, 1.0, 2.0
"""How long a process that was asked to stop, terminated and killed is waited for each time."""


class ProcessWorker:
    """One model version in a process of its own. Everything here happens on the event loop, and nothing blocks it."""

    placement = "process"
    program: ClassVar[tuple[str, ...]] = ("-m", "jupyter_streaminfer.workers.child")
    """What the interpreter runs."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        stall_s: float = STALL_S,
        loopback: bool = sys.platform == "win32",
    ) -> None:
        """``loopback``: talk over TCP on this machine instead of a pair of Unix sockets."""
        self.pid: int | None = None
        """Known from the first word of the process to its end."""
        self._spec = spec
        self._heartbeat_s = heartbeat_s
        self._watch = Watch(heartbeat_s, stall_s, self._lose)
        self._loopback = loopback
        self._process: ChildProcess | None = None
        self._connection = Connection(self._receive, self._hung_up)
        self._stats: ModelStats | None = None
        self._over = False
        """Nothing that the process says is told any more: it was stopped, or it is lost."""
        self._broken: str | None = None
        """What it said its step loop died of."""

    async def start(self, on_events: OnEvents, on_death: OnDeath, on_progress: OnProgress = untold) -> ModelInfo:
        """See `Worker.start`; `StreaminferError` ``worker_lost`` where the process dies of it."""
        loop = self._loop = asyncio.get_running_loop()
        self._on_events = on_events
        self._on_death = on_death
        self._on_progress = on_progress
        self._ready: asyncio.Future[ModelInfo] = loop.create_future()
        self._exited = asyncio.Event()
        name = self._spec.name
        channel: Channel = Loopback() if self._loopback else SocketPair()
        try:
            self._process = ChildProcess(
                name, self.program, channel, lambda reason: self._post(lambda: self._ended(reason))
            )
            await self._connect(channel)
            self._connection.send(frame(encode(Hello(self._spec, self._heartbeat_s))))
            self._watch.begin()
            return await self._ready
        except BaseException:
            self._abandon()
            raise
        finally:
            channel.close()

    async def _connect(self, channel: Channel) -> None:
        connecting = self._loop.create_task(channel.connect(lambda: self._connection))
        # A process that dies before it connects ends the wait.
        self._ready.add_done_callback(lambda _: connecting.cancel())
        try:
            await connecting
        except asyncio.CancelledError:
            if not self._ready.done():
                raise
            await self._ready

    def stats(self) -> ModelStats | None:
        """See `Worker.stats`: as of the last step or heartbeat."""
        return self._stats

    def submit(self, job: Job) -> None:
        """See `Worker.submit`."""
        try:
            data = frame(encode(job))
        except FrameTooLongError as error:
            self._reject(job, ErrorInfo("too_large", f"The request is too long: {error}."))
        except (TypeError, ValueError, OverflowError) as error:
            self._reject(job, ErrorInfo("invalid_request", f"The request holds what cannot be sent: {error}."))
        else:
            self._connection.send(data)

    def _reject(self, job: Job, error: ErrorInfo) -> None:
        rejected: list[JobEvent] = [Rejected(job.job, error)]
        self._loop.call_soon(self._tell, rejected)

    def cancel(self, job: str) -> None:
        """See `Worker.cancel`."""
        self._connection.send(frame(encode(CancelJob(job))))

    def pause(self, job: str) -> None:
        """See `Worker.pause`."""
        self._connection.send(frame(encode(PauseJob(job))))

    def resume(self, job: str) -> None:
        """See `Worker.resume`."""
        self._connection.send(frame(encode(ResumeJob(job))))

    def configure(self, settings: ModelSettings) -> None:
        """See `Worker.configure`."""
        self._connection.send(frame(encode(Configure(settings))))

    async def stop(self) -> None:
        """See `Worker.stop`; asked, terminated, then killed, it takes no longer than 5 seconds."""
        self._close()
        process = self._process
        if process is None:
            return

        def ask() -> None:
            self._connection.send(frame(encode(Stop())))

        steps: list[tuple[Callable[[], None], float]] = [
            (ask, STOP_S),
            (process.terminate, TERMINATE_S),
            (process.kill, KILL_S),
        ]
        try:
            for step, patience in steps:
                step()
                try:
                    async with asyncio.timeout(patience):
                        await self._exited.wait()
                    return
                except TimeoutError:
                    continue
            log.error("The worker process %s of model %s cannot be killed", process.pid, self._spec.name)
        finally:
            self._abandon()

    # What the process says.

    def _receive(self, data: bytes) -> None:
        self._watch.heard()
        if self._over or self._process is None:
            return
        self.pid = self._process.pid
        try:
            message = decode_message(data)
        except msgspec.DecodeError as error:
            self._lose(f"said what cannot be read ({error})")
            return
        match message:
            case Events():
                self._stats = message.stats
                self._tell(message.events)
            case Heartbeat():
                self._stats = message.stats
                self._watch.beat(message)
            case Loading():
                if not self._over:
                    self._on_progress(message.progress)
            case Loaded():
                self._watch.loaded()
                if not self._ready.done():
                    self._ready.set_result(message.info)
            case Refused():
                if not self._ready.done():
                    self._ready.set_exception(StreaminferError.of(message.error))
            case Broken():
                self._broken = message.message

    def _tell(self, events: list[JobEvent]) -> None:
        if self._over:
            return
        try:
            self._on_events(events)
        except Exception as error:
            # As for a callback of the thread placement: the connection and the other streams go on.
            self._loop.call_exception_handler({"message": "Events of a worker could not be taken", "exception": error})

    # What becomes of it.

    def _hung_up(self) -> None:
        if self._exited.is_set():
            self._buried()
        elif self._process is not None:
            self._loop.call_later(DRAIN_S, self._process.kill)

    def _ended(self, reason: str) -> None:
        self._reason = reason
        self.pid = None
        self._exited.set()
        if self._connection.lost:
            self._buried()
        else:
            # What it said last may not be read yet.
            self._loop.call_later(DRAIN_S, self._buried)

    def _buried(self) -> None:
        self._connection.abort()
        self._report(self._reason if self._broken is None else f"stopped: {self._broken}")

    def _lose(self, reason: str) -> None:
        if self._process is not None:
            self._process.kill()
        self._report(f"{reason} and was killed")

    def _report(self, reason: str) -> None:
        if self._over:
            return
        self._close()
        message = f"its process {reason}"
        if self._process is not None and (tail := self._process.log.tail()):
            message += f" (it last wrote: {tail})"
        if not self._ready.done():
            failed = f"Loading {self._spec.path} failed"
            self._ready.set_exception(StreaminferError("worker_lost", f"{failed}: {message}.", retryable=True))
        elif not self._ready.cancelled() and self._ready.exception() is None:
            self._on_death(WorkerLostError(f"{message}."))

    def _close(self) -> None:
        self._over = True
        self._watch.close()

    def _abandon(self) -> None:
        self._close()
        if self._process is not None:
            self._process.kill()
        self._connection.abort()

    def _post(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            log.debug("The event loop was closed before the worker process of model %s ended", self._spec.name)
