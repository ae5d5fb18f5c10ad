"""The batches that workers have computed, as they say so themselves: in counts that only grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from jupyter_streaminfer.workers import Worker


class Batches:
    """Knows what each worker had counted when it was looked at last."""

    def __init__(self) -> None:
        self._counts: WeakKeyDictionary[Worker, Mapping[int, int]] = WeakKeyDictionary()

    def since(self, worker: Worker) -> Iterator[tuple[int, int]]:
        """The sizes of the batches since then, and how many were of each."""
        if (stats := worker.stats()) is None or not stats.batch_sizes:
            return
        last = self._counts.get(worker, {})
        self._counts[worker] = stats.batch_sizes
        for size, count in stats.batch_sizes.items():
            if (more := count - last.get(size, 0)) > 0:
                yield size, more
