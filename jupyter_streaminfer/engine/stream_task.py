"""A request whose answer is a stream, from its admission to the stream's end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

from jupyter_streaminfer.engine.admission import Ticket
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.counts import Counts
from jupyter_streaminfer.engine.deadlines import DeadlineName, StreamDeadlines
from jupyter_streaminfer.engine.metrics.account import StreamAccount
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.protocol import (
    Admitted,
    ErrorInfo,
    Job,
    JobEvent,
    JobFailed,
    Rejected,
    Started,
    StreaminferError,
)

CancelReason = Literal["client", "abandoned", "unload", "shutdown"]


class StreamTask(ABC):
    """Writes what a model's worker brings into a stream, whatever becomes of the worker. A `dispatch.Task`.

    Until the model admitted the input someone waits for ``admitted``; then there is a stream to read.
    """

    unit: ClassVar[str]
    """What the stream consists of, for people."""
    continuable: ClassVar[bool]
    """Whether another stream can go on where this one failed."""

    def __init__(
        self,
        model: Model,
        stream: Stream,
        client: str,
        ticket: Ticket,
        config: EngineConfig,
        counts: Counts,
        account: StreamAccount,
    ) -> None:
        self.strikes = 0
        self.model = model
        self.stream = stream
        self.ticket = ticket
        self.account = account
        self.admitted: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        self.on_admitted: Callable[[Stream], None] = lambda stream: None
        self.on_end: Callable[[StreamTask], None] = lambda task: None
        """Told once, when the stream is closed or will never be."""
        self._client = client
        self._counts = counts
        self._tried_again = False
        self._ended = False
        self._deadlines = StreamDeadlines(stream.request.deadlines, config, self._on_deadline)
        stream.on_pause = self._on_pause
        stream.on_slow = self._on_slow

    @property
    def known(self) -> bool:
        """Whether its stream was ever there to be read."""
        return self.admitted.done() and not self.admitted.cancelled() and self.admitted.exception() is None

    # As a task.

    def next_job(self, attempt: str) -> Job:
        """The job that brings what the stream does not have yet."""
        stream = self.stream
        stream.paused = False  # it is not where the job goes; if its consumers still lag, what comes next shows
        if self.admitted.done():
            self._counts.retries += 1
            stream.notice("retrying", "The model's worker was lost or late; the stream goes on from where it was.")
        return self._job(f"{stream.id}.{attempt}")

    @abstractmethod
    def _job(self, id: str) -> Job:
        """The same, under that id."""

    def on_event(self, event: JobEvent) -> None:
        """Write what the job brought."""
        match event:
            case Admitted():
                if not self.admitted.done():
                    self.stream.prompt_tokens = event.prompt_tokens
                    self.model.requests += 1
                    self.account.admitted(event.prompt_tokens)
                    self.on_admitted(self.stream)
                    self.admitted.set_result(self.stream)
            case Started():
                if self.stream.start(event.ago_ms, event.cached_tokens):
                    self.account.started(self.stream.queue_ms or 0.0)
                self.ticket.progress(self.stream.prompt_tokens)
                self._deadlines.started()
            case JobFailed():
                self._fail(event.error)
            case Rejected():
                # A stream that is there was accepted before: what refuses it now may not do so later.
                self._fail(event.error, resumable=self.continuable)
            case _:
                raise AssertionError(f"this job cannot bring {type(event).__name__}")

    def on_lost(self, error: ErrorInfo) -> None:
        """Its worker is gone: fail where something was told that another one could not go on after."""
        if self.stream.deltas and not self.continuable:
            message = f"{error.message} Nobody can go on with this stream in the middle: start it once more."
            self._fail(ErrorInfo("worker_lost", message))

    def on_poison(self, error: ErrorInfo) -> None:
        """Fail for good."""
        self._fail(error)

    # What ends it otherwise.

    def cancel(self, reason: CancelReason) -> None:
        """End it, and have its worker forget it."""
        if not self._ended:
            self.model.dispatch.cancel(self)
            self.stream.cancel(reason)
            self._refuse(ErrorInfo("cancelled", f"The request was ended before it began ({reason})."))
            self._end()

    def lose(self, error: ErrorInfo) -> None:
        """Fail because there is no worker any more."""
        self._fail(error, resumable=self.continuable)

    def _fail(self, error: ErrorInfo, *, resumable: bool = False) -> None:
        self.stream.fail(error, resumable=resumable)
        self._refuse(error)
        self._end()

    def _refuse(self, error: ErrorInfo) -> None:
        if not self.admitted.done():
            self.admitted.set_exception(StreaminferError.of(error))

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self.model.dispatch.ended(self)
            self._deadlines.close()
            self.ticket.close()
            self.on_end(self)

    def _on_deadline(self, name: DeadlineName) -> None:
        self._counts.deadlines[name] += 1
        if name == "first_token" and not self._tried_again:
            self._tried_again = True
            self.model.dispatch.send_again(self)
            self._deadlines.restart_first_token()
            return
        self.model.dispatch.cancel(self)
        if name == "total":
            self.stream.stop_short("deadline")
            self._refuse(ErrorInfo("deadline", "The request's time was over before it began."))
            self._end()
        elif name == "queue":
            self._fail(
                ErrorInfo("expired", "The request waited too long for a place. Try again when less is asked.", True)
            )
        elif name == "first_token":
            message = f"No {self.unit} came in time, and none when it was tried again."
            self._fail(ErrorInfo("deadline", message, True))
        else:
            hint = "Continue the stream to have the rest." if self.continuable else "It cannot go on from here."
            message = f"The next {self.unit} did not come in time. {hint}"
            self._fail(ErrorInfo("deadline", message), resumable=self.continuable)

    # Consumers that lag.

    def _on_pause(self, stream: Stream) -> None:
        if stream.paused:
            self._counts.pauses += 1
            self.model.dispatch.pause(self)
        else:
            self.model.dispatch.resume(self)

    def _on_slow(self) -> None:
        self._counts.slow_consumers += 1
