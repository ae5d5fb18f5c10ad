"""Where models compute: one small interface, one file a placement."""

from jupyter_streaminfer.workers.base import (
    ModelBounds,
    ModelSpec,
    OnDeath,
    OnEvents,
    OnProgress,
    Worker,
    WorkerLostError,
)
from jupyter_streaminfer.workers.process import ProcessWorker
from jupyter_streaminfer.workers.thread import ThreadWorker


def create(spec: ModelSpec) -> Worker:
    """The worker for the spec's placement, not started yet."""
    return ProcessWorker(spec) if spec.placement == "process" else ThreadWorker(spec)


__all__ = [
    "ModelBounds",
    "ModelSpec",
    "OnDeath",
    "OnEvents",
    "OnProgress",
    "ProcessWorker",
    "ThreadWorker",
    "Worker",
    "WorkerLostError",
    "create",
]
