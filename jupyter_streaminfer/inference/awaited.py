"""An asynchronous generator as an ordinary iterator, on an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

_END = object()


class Awaited:
    """Belongs to the thread that makes it; `interrupt` alone may be called from another one."""

    def __init__(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generator = generator
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._task: asyncio.Task[Any] | None = None
        """What computes the next value."""
        self._interrupted = False

    def __iter__(self) -> Awaited:
        return self

    def __next__(self) -> Any:
        """The next value; raises ``asyncio.CancelledError`` where it was interrupted."""
        value = self._runner.run(self._next())
        if value is _END:
            raise StopIteration
        return value

    def interrupt(self) -> None:
        """End what the generator awaits, now or next."""
        with suppress(RuntimeError):  # closed meanwhile: it awaits nothing
            self._loop.call_soon_threadsafe(self._interrupt)

    def close(self) -> None:
        """Have the generator's ``finally`` blocks run, and free the loop."""
        try:
            self._runner.run(self._close())
        finally:
            self._runner.close()

    async def _next(self) -> Any:
        if self._interrupted:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        try:
            return await anext(self._generator, _END)
        finally:
            self._task = None

    async def _close(self) -> None:
        await self._generator.aclose()

    def _interrupt(self) -> None:
        self._interrupted = True
        if self._task is not None:
            self._task.cancel()
