"""One sample a second of what the engine does, kept for a while and sent to everyone who watches."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import cached_property

import msgspec
from msgspec import Raw

from jupyter_streaminfer.protocol import (
    HISTORY_S,
    Metrics,
    MetricsSample,
    ModelsSample,
    ModelStatus,
    Sample,
    StreamsSample,
    Topic,
)

INTERVAL_S = 1.0

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_METRICS = b'{"type":"metrics","metrics":%b}'
"""A `MetricsSample` around its metrics."""


class Tick:
    """One sample. What a topic has is made when the first watcher asks for it, and once for all of them."""

    def __init__(
        self, metrics: Metrics, models: Callable[[], list[ModelStatus]], streams: Callable[[], StreamsSample]
    ) -> None:
        self.metrics = metrics
        self._models = models
        self._streams = streams
        self._frames: dict[Topic, bytes] = {}

    @cached_property
    def metrics_text(self) -> Raw:
        """The metrics as JSON text."""
        return Raw(_encode(self.metrics))

    @cached_property
    def models(self) -> ModelsSample:
        """Topic ``models``."""
        return ModelsSample(self._models())

    @cached_property
    def streams(self) -> StreamsSample:
        """Topic ``streams``."""
        return self._streams()

    def sample(self, topic: Topic) -> Sample:
        """What is sent of a topic."""
        match topic:
            case "metrics":
                return MetricsSample(self.metrics)
            case "models":
                return self.models
            case "streams":
                return self.streams

    def frame(self, topic: Topic) -> bytes:
        """The same as JSON text."""
        frame = self._frames.get(topic)
        if frame is None:
            frame = self._frames[topic] = self._made(topic)
        return frame

    def _made(self, topic: Topic) -> bytes:
        return _METRICS % self.metrics_text if topic == "metrics" else _encode(self.sample(topic))


OnTick = Callable[[Tick], None]


class Sampler:
    """Takes the samples. Everything is called on the engine's loop."""

    def __init__(
        self,
        measure: Callable[[], Metrics],
        models: Callable[[], list[ModelStatus]],
        streams: Callable[[], StreamsSample],
    ) -> None:
        """``measure`` is called once a sample, the others when a watcher wants to know."""
        self._measure = measure
        self._models = models
        self._streams = streams
        self._history: deque[Raw] = deque(maxlen=round(HISTORY_S / INTERVAL_S))
        self._watchers: dict[object, OnTick] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def watchers(self) -> int:
        """How many are told."""
        return len(self._watchers)

    def start(self) -> None:
        """Take a sample each `INTERVAL_S` from now on; more than once is as good as once, and after `stop` as none."""
        if self._timer is None and not self._stopped:
            self._schedule()

    def stop(self) -> None:
        """Take no more, for good."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def watch(self, on_tick: OnTick) -> Callable[[], None]:
        """Have ``on_tick`` told of each sample, until what this returns is called; more than once does no harm.

        It must be quick, and one that raises is told no more.
        """
        key = object()
        self._watchers[key] = on_tick

        def unwatch() -> None:
            self._watchers.pop(key, None)

        return unwatch

    def history(self, seconds: float) -> list[Raw]:
        """The metrics of the last so many seconds, the oldest first: the JSON text of each.

        Who asks for ten minutes of twenty models gets megabytes, which are kept in the form in which they are sent.
        """
        count = min(len(self._history), round(seconds / INTERVAL_S))
        return list(self._history)[len(self._history) - count :]

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._take)

    def _take(self) -> None:
        self._schedule()
        tick = Tick(self._measure(), self._models, self._streams)
        self._history.append(tick.metrics_text)
        for key, on_tick in list(self._watchers.items()):
            try:
                on_tick(tick)
            except Exception:
                _log.exception("A watcher of samples failed, and is told no more")
                self._watchers.pop(key, None)
