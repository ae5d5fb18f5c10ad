"""Ctrl-C, and the interrupt button of a notebook, for whoever reads a stream just then.

`KeyboardInterrupt` shows up in the reader's own code as often as in ours: between two deltas the loop's body
runs, and a generator is not told why it is dropped. The signal itself is the one thing that always tells.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_watched: dict[object, Callable[[], None]] = {}
_previous: Callable[[int, FrameType | None], Any] = signal.default_int_handler


@contextmanager
def on_interrupt(callback: Callable[[], None]) -> Iterator[None]:
    """Call ``callback`` when the process is interrupted meanwhile, before `KeyboardInterrupt` is raised.

    Only the main thread is interrupted, so anywhere else this does nothing. ``callback`` must not wait.
    """
    if not _on_main_thread() or not _install():
        yield
        return
    key = object()
    _watched[key] = callback
    try:
        yield
    finally:
        _watched.pop(key, None)
        if not _watched and _on_main_thread() and signal.getsignal(signal.SIGINT) is _interrupted:
            signal.signal(signal.SIGINT, _previous)


def _install() -> bool:
    """Put our handler before the one that is there; False where Python does not handle the signal."""
    global _previous
    current = signal.getsignal(signal.SIGINT)
    if current is _interrupted:
        return True
    if not callable(current):
        return False
    # ipykernel sets its handler anew for each cell: whatever is still watched was left behind by an earlier one.
    _watched.clear()
    _previous = current
    signal.signal(signal.SIGINT, _interrupted)
    return True


def _interrupted(number: int, frame: FrameType | None) -> None:
    for callback in list(_watched.values()):
        callback()
    _previous(number, frame)


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
