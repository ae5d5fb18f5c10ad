"""The I/O thread: one asyncio loop for everything that a client sends and receives.

A notebook cell runs inside the kernel's own loop, which therefore cannot be waited on from the cell; this one can.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

INTERRUPTIBLE_S = 0.2 if sys.platform == "win32" else None
"""The longest single wait, in seconds: on Windows a Ctrl-C is not noticed inside one."""


class IOLoop:
    """An asyncio loop on a daemon thread, from its creation until `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="streaminfer-client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    @property
    def running(self) -> bool:
        """Whether calls can still be made."""
        return self._thread.is_alive() and not self._loop.is_closed()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for what it returns or raises.

        Interrupting the wait cancels the coroutine.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("A callback on the I/O thread cannot wait for the I/O thread; call from another thread.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return _wait(future)
        except BaseException:
            future.cancel()
            raise

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call a function on the loop, from any thread; nothing happens once the loop has stopped."""
        if self.running:
            self._loop.call_soon_threadsafe(callback)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the loop and its thread; may be called from any thread and more than once."""
        if self.running:
            self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)


def _wait(future: concurrent.futures.Future[T]) -> T:
    while True:
        try:
            return future.result(INTERRUPTIBLE_S)
        except TimeoutError:
            if future.done():
                raise
