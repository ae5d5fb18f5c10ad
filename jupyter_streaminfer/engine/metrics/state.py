"""What one version of a model is doing, as its worker says."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_streaminfer.engine.model import Model


class VersionState:
    """The same of several versions, where they share a label. See `ModelMetrics` for each."""

    __slots__ = ("_prefix_hits", "_prefix_tokens", "cache_used", "flushes", "running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.cache_used: float | None = None
        """Of the one that uses most of its cache."""
        self.flushes: Counter[str] = Counter()
        self._prefix_tokens = 0
        self._prefix_hits = 0

    @property
    def prefix_hit_rate(self) -> float | None:
        """None where no prompt was looked up."""
        return round(self._prefix_hits / self._prefix_tokens, 4) if self._prefix_tokens else None

    def add(self, model: Model) -> None:
        """Take in a version."""
        if (stats := model.worker.stats()) is None:
            return
        self.running += stats.running
        self.waiting += stats.waiting
        if model.info is not None and model.info.task == "generate":
            self.cache_used = max(self.cache_used or 0.0, stats.cache_used)
        self._prefix_tokens += stats.prefix_tokens
        self._prefix_hits += stats.prefix_hits
        if (batcher := stats.batcher) is not None:
            self.flushes.update(full=batcher.full, preferred=batcher.preferred, timed=batcher.timed)
