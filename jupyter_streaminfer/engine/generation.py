"""A generation: one generate request, from its admission to the end of its stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from jupyter_streaminfer.engine.admission import Ticket
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.counts import Counts
from jupyter_streaminfer.engine.deadlines import DeadlineName, StreamDeadlines
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.protocol import (
    Admitted,
    ErrorInfo,
    Finished,
    GenerateJob,
    JobEvent,
    JobFailed,
    Rejected,
    Started,
    StreaminferError,
    Tokens,
)

CancelReason = Literal["client", "abandoned", "unload", "shutdown"]


class Generation:
    """Writes what a model's worker brings into a stream, whatever becomes of the worker. A `dispatch.Task`.

    Until the model admitted the prompt someone waits for ``admitted``; then there is a stream to read.
    """

    def __init__(
        self, model: Model, stream: Stream, client: str, ticket: Ticket, config: EngineConfig, counts: Counts
    ) -> None:
        self.strikes = 0
        self.model = model
        self.stream = stream
        self.ticket = ticket
        self.admitted: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        self.on_admitted: Callable[[Stream], None] = lambda stream: None
        self.on_end: Callable[[Generation], None] = lambda generation: None
        """Told once, when the stream is closed or will never be."""
        self._client = client
        self._counts = counts
        self._tried_again = False
        self._ended = False
        self._deadlines = StreamDeadlines(stream.request.deadlines, config, self._on_deadline)
        stream.on_pause = self._on_pause
        stream.on_slow = self._on_slow

    # As a task.

    def next_job(self, attempt: str) -> GenerateJob:
        """The job that brings what the stream does not have yet."""
        stream = self.stream
        stream.paused = False  # it is not where the job goes; if its consumers still lag, the next token shows
        if self.admitted.done():
            self._counts.retries += 1
            stream.notice("retrying", "The model's worker was lost or late; the stream goes on from where it was.")
        return GenerateJob(f"{stream.id}.{attempt}", stream.request, stream.seed, stream.delivered, self._client)

    def on_event(self, event: JobEvent) -> None:
        """Write what the job brought."""
        stream = self.stream
        match event:
            case Tokens():
                stream.append(event.token_ids, event.text, event.logprobs)
                self.ticket.progress(len(event.token_ids))
                self._deadlines.token()
            case Admitted():
                if not self.admitted.done():
                    stream.prompt_tokens = event.prompt_tokens
                    self.model.requests += 1
                    self.on_admitted(stream)
                    self.admitted.set_result(stream)
            case Started():
                stream.start(event.ago_ms, event.cached_tokens)
                self.ticket.progress(stream.prompt_tokens)
                self._deadlines.started()
            case Finished():
                if event.text:
                    stream.append([], event.text)
                stream.complete(event.finish_reason)
                self._end()
            case JobFailed():
                self._fail(event.error)
            case Rejected():
                # A stream that is there was accepted before: what refuses it now may not do so later.
                self._fail(event.error, resumable=True)
            case _:
                raise AssertionError("a generate job cannot bring the answer to a question")

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
        self._fail(error, resumable=True)

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
            self._fail(ErrorInfo("deadline", "No token came in time, and none when it was tried again.", True))
        else:
            self._fail(
                ErrorInfo("deadline", "The next token did not come in time. Continue the stream to have the rest."),
                resumable=True,
            )

    # Consumers that lag.

    def _on_pause(self, stream: Stream) -> None:
        if stream.paused:
            self._counts.pauses += 1
            self.model.dispatch.pause(self)
        else:
            self.model.dispatch.resume(self)

    def _on_slow(self) -> None:
        self._counts.slow_consumers += 1
