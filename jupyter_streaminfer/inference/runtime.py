"""What a worker's step loop drives: one loaded model, whatever its task."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import Protocol, runtime_checkable

from jupyter_streaminfer.protocol import Job, JobEvent, ModelInfo, ModelSettings, ModelStats, PredictJob


class Runtime(Protocol):
    """A loaded model and the jobs it is working on. Used from one thread only."""

    info: ModelInfo
    before_compute: Callable[[], object]
    """Called in a step just before the interpreter is let go of for long: whoever waits for it has it at once."""

    def warm_up(self) -> None:
        """Run real inferences, so that the first request pays for no lazy initialisation."""

    def submit(self, job: Job) -> JobEvent | None:
        """Check a job's input and queue it.

        Returns `Rejected` where the input cannot be computed, else what there is to say already, if anything.
        """

    def cancel(self, job: str) -> None:
        """Forget a job and free its place; unknown ids are ignored."""

    def pause(self, job: str) -> None:
        """Give a generation's place to others and keep what it has; unknown ids and other jobs are ignored."""

    def resume(self, job: str) -> None:
        """Let a paused generation go on in its turn; all others are left as they are."""

    def configure(self, settings: ModelSettings) -> None:
        """Batch as ``settings`` say from the next step on; what they leave out stays. Without a batcher: ignore it."""

    def due_in(self) -> float | None:
        """Seconds until `step` has something to do: 0 now, None while there is no job, or only paused ones."""

    def stats(self) -> ModelStats | None:
        """What there is to say of its work; may be called from another thread, so it only reads numbers."""

    def step(self) -> list[JobEvent]:
        """Advance by one step and say what it brought. A fault of one job is that job's `JobFailed`."""


@runtime_checkable
class Gathering(Runtime, Protocol):
    """A runtime for which many small jobs are less to do together than one by one."""

    def submit_all(self, jobs: Seq[PredictJob]) -> list[JobEvent]:
        """As `submit` does with each of them, in their order."""


@runtime_checkable
class Threaded(Runtime, Protocol):
    """A runtime with threads of its own, which bring something while nothing is computed here."""

    wake: Callable[[], object]
    """To be called by these, on any of them, when there is something to do for `step`."""

    def close(self) -> None:
        """End these threads; they are waited for, but not for long."""
