"""Loads that take as long as a test wants them to."""

import threading
from pathlib import Path

import pytest

from jupyter_streaminfer.inference.runtime import Runtime
from jupyter_streaminfer.workers import ModelSpec, thread
from jupyter_streaminfer.workers.progress import Progress


class Gate:
    """Holds up the loads of some folders, on their threads, until it is opened."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self._held: set[Path] = set()
        load = thread.load

        def held(spec: ModelSpec, progress: Progress) -> Runtime:
            if spec.path in self._held:
                progress("reading", 1, 2)
                self._open.wait()
            return load(spec, progress)

        patch.setattr(thread, "load", held)

    def hold(self, folder: str) -> None:
        self._held.add(Path(folder))

    def open(self) -> None:
        self._open.set()
