"""The I/O thread: one asyncio loop for everything that a client sends and receives.

A notebook cell runs inside the kernel's own loop, which therefore cannot be waited on from the cell; this one can.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

INTERRUPTIBLE_S = 0.2 if sys.platform == "win32" else None
"""The longest single wait, in seconds: on Windows a Ctrl-C is not noticed inside one."""
DRAIN_S = 2.0
"""How long `IOLoop.stop` waits for what was spawned."""


class IOLoop:
    """An asyncio loop on a daemon thread, from its creation until `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[object]] = set()
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

        Interrupting the wait cancels the coroutine; `stop` does, too, and the wait ends with a RuntimeError.
        """
        return self.finish(self.begin(work))

    def finish(self, future: concurrent.futures.Future[T]) -> T:
        """Wait for what was begun, as `run` does."""
        try:
            return _wait(future)
        except concurrent.futures.CancelledError:
            raise RuntimeError("The client was closed during this call.") from None
        except BaseException:
            future.cancel()
            raise

    def begin(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop; the future is what it returns or raises, and cancels it."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("A callback on the I/O thread cannot wait for the I/O thread; call from another thread.")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine on the loop and wait for nothing; a failure of it is nobody's business.

        Safe in a signal handler. Nothing happens once the loop has stopped.
        """
        if not self.running:
            work.close()
            return
        self._loop.call_soon_threadsafe(self._begin, work)

    def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Read, so that asyncio does not report it as lost.
            task.exception()

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_S)
        # What is left would never go on, and another thread may wait for it.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=DRAIN_S)
        self._loop.stop()

    def stop(self) -> None:
        """End the loop and its thread, after what was spawned; from any thread, and more than once."""
        if self.running:
            asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        if threading.current_thread() is not self._thread:
            self._thread.join(2 * DRAIN_S)


def _wait(future: concurrent.futures.Future[T]) -> T:
    while True:
        try:
            return future.result(INTERRUPTIBLE_S)
        except TimeoutError:
            if future.done():
                raise
