"""One generator, pulled on a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from jupyter_streaminfer.inference.awaited import Awaited
from jupyter_streaminfer.inference.yielded import encode
from jupyter_streaminfer.protocol import ErrorInfo, Finished, JobEvent, JobFailed, StreaminferError, Yielded

AHEAD_VALUES = 8
AHEAD_BYTES = 256 * 2**10
"""How far a generator runs ahead of who takes what it brings; one value may be longer."""
MAX_ERROR_CHARACTERS = 1000
"""Of the message of what it raises, as a client is told it."""

_log = logging.getLogger(__name__)


class Pull:
    """Takes the next value of a generator whenever there is room for it. Steered and emptied from one other thread."""

    def __init__(self, job: str, function: Callable[[Any], Any], inputs: Any, on_ready: Callable[[], object]) -> None:
        """``on_ready`` is called on the generator's thread when there is something to `take` again, and at its end."""
        self.job = job
        self.paused = False
        self.ended = False
        """Whether the generator is closed: what there is to take is all."""
        self._function = function
        self._inputs = inputs
        self._on_ready = on_ready
        self._brought: deque[JobEvent] = deque()
        self._bytes = 0
        self._cancelled = False
        self._source: Any = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"streaminfer-run-{job}", daemon=True)

    def start(self) -> None:
        """Begin to pull."""
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether there is something to take."""
        return bool(self._brought) and not self.paused

    def pause(self) -> None:
        """Pull nothing more for now; a value that is being computed is kept."""
        self.paused = True

    def resume(self) -> None:
        """Go on."""
        with self._changed:
            self.paused = False
            self._changed.notify_all()

    def cancel(self) -> None:
        """Close the generator at its next ``yield``; an asynchronous one where it waits just now."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()
            if isinstance(self._source, Awaited):
                self._source.interrupt()

    def take(self) -> list[JobEvent]:
        """What it brought since; the last of all is `Finished` or `JobFailed`."""
        with self._changed:
            brought, self._bytes = list(self._brought), 0
            self._brought.clear()
            self._changed.notify_all()
        return brought

    def join(self, timeout_s: float) -> None:
        """Wait for its thread's end, but not for long."""
        self._thread.join(timeout_s)

    # On the thread.

    def _run(self) -> None:
        last: JobEvent = Finished(self.job, "stop")
        try:
            self._pull()
        except StreaminferError as error:
            _log.warning("Stream %s: %s", self.job, error)
            last = JobFailed(self.job, error.info)
        except BaseException as error:
            if not (self._cancelled and isinstance(error, asyncio.CancelledError)):
                _log.exception("What yields stream %s raised", self.job)
            last = JobFailed(self.job, ErrorInfo("internal", f"The model raised {_said(error)}"))
        self.ended = True
        self._bring(last, 0)

    def _pull(self) -> None:
        source = self._function(self._inputs)
        if inspect.isasyncgen(source):
            source = Awaited(source)
        with self._changed:
            self._source = source
        try:
            while self._has_room():
                try:
                    value = next(source)
                except StopIteration:
                    return
                text = encode(value)
                self._bring(Yielded(self.job, text), len(text))
        finally:
            source.close()

    def _has_room(self) -> bool:
        """Wait until another value is wanted; False where none ever will be."""
        with self._changed:
            while not self._cancelled and (
                self.paused or len(self._brought) >= AHEAD_VALUES or self._bytes >= AHEAD_BYTES
            ):
                self._changed.wait()
            return not self._cancelled

    def _bring(self, event: JobEvent, size: int) -> None:
        with self._changed:
            first = not self._brought
            self._brought.append(event)
            self._bytes += size
        if first or self.ended:
            self._on_ready()


def _said(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = ""  # its own code fails, too
    short = text if len(text) <= MAX_ERROR_CHARACTERS else text[:MAX_ERROR_CHARACTERS] + "…"
    return f"{type(error).__name__}: {short}" if short else f"{type(error).__name__}."
