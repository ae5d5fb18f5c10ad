"""Where one engine keeps the uploads that are under way, and how what another one left there is told apart."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed: as good as a lock
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
TRIES = 5


class Workplace:
    """``STORE/.uploads/ENGINE``, locked as long as the engine lives: engines may share a store.

    Every method touches the disk, and may be called in any thread.
    """

    def __init__(self, store: Path) -> None:
        self._all = store / ".uploads"
        self._guard = threading.Lock()
        self._folder: Path | None = None
        self._lock = -1

    def open(self) -> Path:
        """The folder, made and locked at the first call; raises `OSError`."""
        with self._guard:
            tries = 0
            while self._folder is None:
                folder = self._all / secrets.token_hex(8)
                try:
                    folder.mkdir(0o700, parents=True)
                    self._lock = _locked(folder / LOCK, os.O_CREAT)
                    self._folder = folder
                except OSError:
                    # Somebody may have swept the folder before it was locked.
                    tries += 1
                    if tries == TRIES:
                        raise
            return self._folder

    def sweep(self) -> None:
        """Remove the folders of engines that are gone."""
        with suppress(OSError):
            for folder in self._all.iterdir():
                if folder != self._folder:
                    _sweep(folder)

    def close(self) -> None:
        """Remove the folder."""
        with self._guard:
            if self._folder is not None:
                _remove(self._folder, self._lock)
                self._folder = None


def _locked(path: Path, flags: int = 0) -> int:
    """A descriptor that holds a lock; raises `OSError` where somebody else does, or the file was removed meanwhile."""
    descriptor = os.open(path, os.O_RDWR | flags, 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.stat()
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep(folder: Path) -> None:
    lock = folder / LOCK
    if fcntl is None:
        with suppress(OSError):
            lock.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        held = _locked(lock)
    except FileNotFoundError:
        held = -1
    except OSError:
        return
    _remove(folder, held)


def _remove(folder: Path, lock: int) -> None:
    """Remove a folder and let go of its lock: afterwards where the system can, so that nobody takes it in between."""
    if fcntl is None and lock >= 0:
        os.close(lock)
    shutil.rmtree(folder, ignore_errors=True)
    if fcntl is not None and lock >= 0:
        os.close(lock)
