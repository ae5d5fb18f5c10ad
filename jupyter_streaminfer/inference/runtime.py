"""What a worker's step loop drives: one loaded model, whatever its task."""

from __future__ import annotations

from typing import Protocol

from jupyter_streaminfer.protocol import Job, JobEvent, ModelInfo


class Runtime(Protocol):
    """A loaded model and the jobs it is working on. Used from one thread only."""

    info: ModelInfo

    def warm_up(self) -> None:
        """Run real inferences, so that the first request pays for no lazy initialisation."""

    def submit(self, job: Job) -> JobEvent | None:
        """Check a job's input and queue it.

        Returns `Rejected` where the input cannot be computed, else what there is to say already, if anything.
        """

    def cancel(self, job: str) -> None:
        """Forget a job and free its place; unknown ids are ignored."""

    def due_in(self) -> float | None:
        """Seconds until `step` has something to do: 0 now, None while there is no job."""

    def step(self) -> list[JobEvent]:
        """Advance by one step and say what it brought. A fault of one job is that job's `JobFailed`."""
