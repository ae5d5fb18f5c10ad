"""What a placement is: somewhere that a loaded model computes.

The engine knows workers by this interface alone. A placement is one file beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from jupyter_streaminfer.protocol import (
    DType,
    Job,
    JobEvent,
    LoadProgress,
    ModelInfo,
    ModelSettings,
    ModelStats,
    Placement,
    Signature,
)


@dataclass(frozen=True)
class ModelBounds:
    """What one model may take."""

    max_batch_size: int = 32
    """Sequences (generate) or rows (predict) computed together at most."""
    max_wait_ms: float = 2.0
    """How long a prediction waits for company before its batch is flushed."""
    max_queue: int = 1024
    """Jobs waiting for a place at most; the next one is rejected as ``overloaded``."""
    step_tokens: int = 1024
    """Prompt and new tokens that one step may compute at most."""
    cache_bytes: int = 512 * 2**20
    """The KV cache's budget."""
    threads: int = 0
    """Computing threads; 0: all cores but one, which is left to the event loop."""
    memory_bytes: int = 0
    """What a worker process may take; 0: no limit. A thread has none of its own."""

    allowed_factories: Sequence[str] = ()
    """Patterns of ``module:function`` (``mypackage.models:*``) that may be imported and called to load a model."""
    allow_torchscript: bool = False
    """Whether TorchScript files are loaded: their code is the file's own."""
    skops_trusted: Sequence[str] = ()
    """Types besides skops' own list that a ``.skops`` file may make objects of."""


@dataclass(frozen=True)
class ModelSpec:
    """What to load and the bounds it must keep."""

    name: str
    version: str
    path: Path
    """A folder, a file, or ``module:function``."""
    dtype: DType = "auto"
    placement: Placement = "thread"
    """``auto`` is resolved by whoever makes the spec."""
    bounds: ModelBounds = ModelBounds()
    signature: Signature | None = None
    """Of a file or a function that does not say it itself."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """For the function."""


OnEvents = Callable[[list[JobEvent]], None]
"""Called on the event loop that started the worker, once a step, with all that the step brought."""
OnProgress = Callable[[LoadProgress], None]
"""Called on that loop while the worker loads, at most a few times a second."""
OnDeath = Callable[["WorkerLostError"], None]
"""Called on that loop when the worker can compute no more; its unfinished jobs get no further event."""


class WorkerLostError(Exception):
    """Why a worker can compute no more, for people."""

    def __init__(self, message: str, *, restartable: bool = True) -> None:
        """``restartable``: another one, started in its stead, could compute; not so after a CUDA error in a thread."""
        super().__init__(message)
        self.restartable = restartable


def untold(progress: LoadProgress) -> None:
    """What becomes of a load's progress when nobody wants to know."""


class Worker(Protocol):
    """One model version, computing in one place."""

    placement: str
    pid: int | None
    """The process that it computes in, where that is one of its own."""

    def stats(self) -> ModelStats | None:
        """What the model is doing, as far as is known here."""

    async def start(self, on_events: OnEvents, on_death: OnDeath, on_progress: OnProgress = untold) -> ModelInfo:
        """Load and warm up; the model can answer when this returns.

        Raises `StreaminferError` with the reason when the folder cannot be loaded.
        """

    def submit(self, job: Job) -> None:
        """Queue a job; its first event is `Admitted` or `Rejected`."""

    def cancel(self, job: str) -> None:
        """End a job before the next step and free its place; no event follows. Unknown ids are ignored."""

    def pause(self, job: str) -> None:
        """Give a generation's place to others before the next step, and keep what it has; unknown ids are ignored."""

    def resume(self, job: str) -> None:
        """Let a paused generation go on, in its turn; others are left as they are."""

    def configure(self, settings: ModelSettings) -> None:
        """Batch as ``settings`` say from the next step on; what they leave out stays."""

    async def stop(self) -> None:
        """Compute no more, free the model, and return when the place is empty."""
