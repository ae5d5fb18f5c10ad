"""Watching: the samples that one connection is sent, as fast as it takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Raw

from jupyter_streaminfer.engine import Engine, Tick
from jupyter_streaminfer.protocol import Topic


class Watcher:
    """One reader of samples. It holds the latest one at most: who is slow misses those between."""

    def __init__(self, engine: Engine, topics: Iterable[Topic], notify: Callable[[], None]) -> None:
        """``notify`` is called whenever there is something to take."""
        self.topics: tuple[Topic, ...] = tuple(dict.fromkeys(topics))
        self._engine = engine
        self._notify = notify
        self._tick: Tick | None = None
        self._unwatch = engine.watch(self._told)

    def history(self, seconds: float) -> list[Raw]:
        """The metrics of the last so many seconds, the oldest first: the JSON text of each.

        None for who does not ask for that topic.
        """
        return self._engine.history_texts(seconds) if "metrics" in self.topics else []

    def take(self) -> list[bytes]:
        """The latest sample, if it was not taken yet: each topic's JSON text, the same for every reader."""
        tick, self._tick = self._tick, None
        return [] if tick is None else [tick.frame(topic) for topic in self.topics]

    def close(self) -> None:
        """Be told no more."""
        self._unwatch()
        self._tick = None

    def drop(self) -> None:
        """The same, as its reader was found to read no more: it is counted."""
        self.close()
        self._engine.watchers_dropped += 1

    def _told(self, tick: Tick) -> None:
        self._tick = tick
        self._notify()
