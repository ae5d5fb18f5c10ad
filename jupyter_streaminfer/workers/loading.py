"""From a `ModelSpec` to a runtime that can answer, on the thread that will step it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.workers.base import ModelSpec
from jupyter_streaminfer.workers.progress import Progress

if TYPE_CHECKING:
    from jupyter_streaminfer.inference.runtime import Runtime


def load(spec: ModelSpec, progress: Progress) -> Runtime:
    """Import torch, load the model and warm it up; `StreaminferError` with the reason where that fails."""
    bounds = spec.bounds
    progress("starting")
    try:
        from jupyter_streaminfer.inference.load import load_runtime

        runtime = load_runtime(
            spec.path,
            dtype=spec.dtype,
            max_batch_size=bounds.max_batch_size,
            max_wait_ms=bounds.max_wait_ms,
            max_queue=bounds.max_queue,
            step_tokens=bounds.step_tokens,
            cache_bytes=bounds.cache_bytes,
            threads=bounds.threads or spare_cores(),
            signature=spec.signature,
            arguments=spec.arguments,
            allowed_factories=bounds.allowed_factories,
            allow_torchscript=bounds.allow_torchscript,
            skops_trusted=bounds.skops_trusted,
            progress=progress,
        )
        progress("warming up")
        runtime.warm_up()
    except StreaminferError:
        raise
    except Exception as error:
        message = f"Loading {spec.path} failed: {type(error).__name__}: {error}"
        raise StreaminferError("internal", message) from error
    return runtime


def spare_cores() -> int:
    """All cores but the one that the event loop and its clients need.

    Computing threads that wait for one another at every operation, and for a core besides, are many times
    slower than fewer of them.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores - 1)
