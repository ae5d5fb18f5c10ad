"""What one turn of the event loop asks of a worker, handed over at once: one wake-up for all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turn(Generic[T]):
    """Collects on the event loop, in order; a turn that brings hundreds of requests wakes the worker once."""

    def __init__(self, deliver: Callable[[list[T]], None]) -> None:
        self._deliver = deliver
        self._items: list[T] = []

    def put(self, item: T) -> None:
        """Have it delivered before the loop waits again."""
        self._items.append(item)
        if len(self._items) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        items, self._items = self._items, []
        self._deliver(items)
