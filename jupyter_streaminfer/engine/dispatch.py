"""How jobs reach a model's worker, and again after it was lost."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from jupyter_streaminfer.protocol import Admitted, ErrorInfo, Job, JobEvent, Started
from jupyter_streaminfer.workers import Worker

MAX_STRIKES = 2
"""A job whose worker was lost so often while it was the only one on trial is poison."""


class Task(Protocol):
    """Something that a worker is to do: a job, which is another one each time it is sent."""

    strikes: int

    def next_job(self, attempt: str) -> Job:
        """The job that does what is still to do, under an id that ends with ``attempt``."""

    def on_event(self, event: JobEvent) -> None:
        """What the job brought."""

    def on_lost(self, error: ErrorInfo) -> None:
        """Its worker is gone; it is sent to another one, unless it ends now."""

    def on_poison(self, error: ErrorInfo) -> None:
        """It will not be sent again: it ends workers."""


class Dispatch:
    """The tasks that one model's worker has.

    When a worker is lost, nobody knows by which of them. So its successor gets them one at a time, in their order,
    and the next one when the one before has brought something: that one is acquitted, and goes on beside the others.
    One that is on trial when its worker is lost twice is not sent again. An innocent job is delayed, never refused.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._up = True
        self._attempts = 0
        self._sent: dict[str, Task] = {}
        """By the id of the job, in the order in which they were sent."""
        self._jobs: dict[Task, str] = {}
        self._waiting: deque[Task] = deque()
        """Those that will be on trial."""
        self._on_trial: Task | None = None

    @property
    def tasks(self) -> list[Task]:
        """Those that the worker has and those that wait for it."""
        return [*self._sent.values(), *self._waiting]

    def submit(self, task: Task) -> None:
        """Send a task, or have it wait for its trial."""
        if self._up and not self._waiting and self._on_trial is None:
            self._send(task)
        else:
            self._waiting.append(task)

    def send_again(self, task: Task) -> None:
        """Cancel a task's job and send what is still to do as another."""
        if (job := self._jobs.get(task)) is not None:
            self._drop(task)
            self.worker.cancel(job)
            self._send(task)

    def cancel(self, task: Task) -> None:
        """Forget a task, and have the worker forget its job."""
        if (job := self._drop(task)) is not None:
            self.worker.cancel(job)
        elif task in self._waiting:
            self._waiting.remove(task)
        self._acquit(task)

    def ended(self, task: Task) -> None:
        """Forget a task whose job has brought its last event."""
        self._drop(task)
        if task is self._on_trial:
            self._acquit(task)

    def pause(self, task: Task) -> None:
        """Have a generation wait."""
        if (job := self._jobs.get(task)) is not None:
            self.worker.pause(job)

    def resume(self, task: Task) -> None:
        """Let it go on."""
        if (job := self._jobs.get(task)) is not None:
            self.worker.resume(job)

    def on_events(self, events: list[JobEvent]) -> None:
        """Hand on what the worker brought."""
        for event in events:
            if (task := self._sent.get(event.job)) is not None:
                task.on_event(event)
                if task is self._on_trial and not isinstance(event, Admitted | Started):
                    self._acquit(task)

    def lost(self, error: ErrorInfo) -> None:
        """The worker is gone: what it had waits for another one, but for what is poison."""
        self._up = False
        for task in tuple(self._sent.values()):
            task.on_lost(error)
        suspect, self._on_trial = self._on_trial, None
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()
        self._jobs.clear()
        if suspect is not None:
            suspect.strikes += 1
            if suspect.strikes >= MAX_STRIKES:
                self._waiting.remove(suspect)
                suspect.on_poison(
                    ErrorInfo(
                        "worker_lost",
                        f"This request ended its worker more than once and is not tried again. {error.message}",
                    )
                )

    def restarted(self, worker: Worker) -> None:
        """There is another worker: begin the trials."""
        self.worker = worker
        self._up = True
        self._try_next()

    def _send(self, task: Task) -> None:
        self._attempts += 1
        job = task.next_job(str(self._attempts))
        self._sent[job.job] = task
        self._jobs[task] = job.job
        self.worker.submit(job)

    def _drop(self, task: Task) -> str | None:
        job = self._jobs.pop(task, None)
        if job is not None:
            del self._sent[job]
        return job

    def _acquit(self, task: Task) -> None:
        if task is self._on_trial:
            self._on_trial = None
            task.strikes = 0
            self._try_next()

    def _try_next(self) -> None:
        if self._up and self._on_trial is None and self._waiting:
            self._on_trial = self._waiting.popleft()
            self._send(self._on_trial)
