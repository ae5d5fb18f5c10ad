"""A question: a job that one event answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jupyter_streaminfer.protocol import ErrorInfo, Job, JobEvent, JobFailed, Rejected, StreaminferError


class Question:
    """A job that a worker has and that one event answers, in order or not. A `dispatch.Task`."""

    def __init__(self, job: Callable[[str], Job]) -> None:
        """``job`` makes the job under an id that ends with the given text."""
        self.strikes = 0
        self.answer: asyncio.Future[JobEvent] = asyncio.get_running_loop().create_future()
        self.next_job = job

    def on_event(self, event: JobEvent) -> None:
        """Take the answer."""
        if isinstance(event, Rejected | JobFailed):
            self.refuse(event.error)
        elif not self.answer.done():
            self.answer.set_result(event)

    def on_poison(self, error: ErrorInfo) -> None:
        """Be refused for good."""
        self.refuse(error)

    def refuse(self, error: ErrorInfo) -> None:
        """Have the asker told that there will be no answer."""
        if not self.answer.done():
            self.answer.set_exception(StreaminferError.of(error))
