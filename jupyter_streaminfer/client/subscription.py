"""A watcher of samples that calls back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from jupyter_streaminfer.protocol import Sample, StreaminferError, Topic, Watching

if TYPE_CHECKING:
    from jupyter_streaminfer.client.client import Client

T = TypeVar("T")

OnSample = Callable[[Sample | Watching], object]
OnLost = Callable[[StreaminferError], object]

_log = logging.getLogger(__name__)


class Subscription:
    """Samples on their way to a callback, until `close`; ``with`` closes it.

    It outlives lost connections and keeps its client open. Callbacks run on the I/O thread: they must not block it.
    """

    def __init__(
        self, client: Client, on_sample: OnSample, topics: Sequence[Topic], history_s: float, on_lost: OnLost | None
    ) -> None:
        """See `MetricsCalls.watch`, which makes it."""
        self._client = client
        self._on_sample = on_sample
        self._on_lost = on_lost
        self.topics = tuple(topics)
        self.history_s = history_s
        """How far back the `Watching` that it is told reaches, in seconds."""
        self.closed = False
        """Whether it was closed, or can go on no more."""
        self.live = False
        """Whether samples come now; not while a lost connection is being had back."""

    def close(self) -> None:
        """Be told nothing more. From any thread, also within a callback; waits for nothing."""
        if not self.closed:
            self._end()
            self._client._io.spawn(self._client._transport.unwatch(self))

    # What the transport tells, on the I/O thread.

    def watching(self, watching: Watching) -> None:
        """See `Watcher.watching`."""
        self.live = not self.closed
        self._tell(watching)

    def sample(self, sample: Sample) -> None:
        """See `Watcher.sample`."""
        self._tell(sample)

    def interrupted(self, error: StreaminferError) -> None:
        """See `Watcher.interrupted`."""
        self.live = False
        if not self.closed:
            self._call(self._on_lost, error)

    def lost(self, error: StreaminferError) -> None:
        """See `Watcher.lost`."""
        if not self.closed:
            self._end()
            # Whatever it was: nothing more is tried.
            final = StreaminferError(error.code, f"Samples come no more. {error}", field=error.field)
            self._call(self._on_lost, final)

    def _end(self) -> None:
        self.closed, self.live = True, False

    def _tell(self, message: Sample | Watching) -> None:
        if not self.closed:
            self._call(self._on_sample, message)

    def _call(self, callback: Callable[[T], object] | None, message: T) -> None:
        if callback is not None:
            try:
                callback(message)
            except Exception:
                _log.exception("A watcher of samples failed")

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "live" if self.live else "connecting"
        return f"<Subscription {', '.join(self.topics)}: {state}>"
