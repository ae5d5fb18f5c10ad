"""Every stream of the engine: how many may be kept, for how long, and when one that nobody reads ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import chain, islice

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.protocol import StreaminferError


class StreamTable:
    """The streams by id, in the order of their creation. Each has one timer: its grace or, closed, its time to live."""

    def __init__(self, config: EngineConfig, on_abandoned: Callable[[Stream], None]) -> None:
        """``on_abandoned`` ends a stream whose grace period passed without a consumer."""
        self._config = config
        self._on_abandoned = on_abandoned
        self._streams: dict[str, Stream] = {}
        self._open: dict[str, Stream] = {}
        self._closed: dict[str, Stream] = {}
        """Which of them are what; the closed ones in the order in which they did: the first is forgotten first."""
        self._closed_bytes = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __iter__(self) -> Iterator[Stream]:
        return iter(list(self._streams.values()))

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def open(self) -> int:
        """Streams that are not closed."""
        return len(self._open)

    @property
    def log_bytes(self) -> int:
        """What all logs take, roughly."""
        return self._closed_bytes + sum(stream.log.nbytes for stream in self._open.values())

    def opened(self) -> list[Stream]:
        """The open ones, the oldest first."""
        return list(self._open.values())

    def newest(self, count: int) -> tuple[list[Stream], int]:
        """``count`` streams at most, the open ones before the closed ones, the newest of each first.

        And how many are left out.
        """
        listed = list(islice(chain(reversed(self._open.values()), reversed(self._closed.values())), count))
        return listed, len(self._streams) - len(listed)

    def get(self, id: str) -> Stream:
        """The stream of that id; raises `StreaminferError` ``stream_not_found``."""
        try:
            return self._streams[id]
        except KeyError:
            raise StreaminferError(
                "stream_not_found",
                f"There is no stream {id[:64]!r}: it never was, or it ended more than "
                f"{self._config.stream_ttl_s:g} s ago. Start a new one with generate.",
                field="stream",
            ) from None

    def make_room(self, coming: int) -> None:
        """Forget the oldest closed streams until one more fits beside the ``coming`` ones.

        Raises `StreaminferError` ``overloaded`` when all that are kept are still open, or their logs take too much.
        """
        self._forget_bytes()
        excess = len(self._streams) + coming + 1 - self._config.max_streams
        if excess <= 0:
            return
        if excess > len(self._closed):
            raise StreaminferError(
                "overloaded",
                f"{self._config.max_streams} streams are open, the most this engine keeps. Try again when one ended.",
                retryable=True,
            )
        for id in list(self._closed)[:excess]:
            self.forget(id)

    def _forget_bytes(self) -> None:
        """Forget the oldest closed streams until the logs take no more than they may."""
        excess = self.log_bytes - self._config.max_log_bytes
        while excess > 0 and self._closed:
            stream = next(iter(self._closed.values()))
            excess -= stream.log.nbytes
            self.forget(stream.id)
        if excess > 0:
            raise StreaminferError(
                "overloaded",
                f"The open streams' logs take more than {self._config.max_log_bytes} bytes "
                "(c.StreaminferApp.max_log_bytes). Try again when one ended.",
                retryable=True,
            )

    def add(self, stream: Stream) -> None:
        """Keep a new stream; its grace period runs until the first consumer comes."""
        self._streams[stream.id] = self._open[stream.id] = stream
        stream.on_consumers = self._rearm
        self._rearm(stream)

    def closed(self, stream: Stream) -> None:
        """Note that a stream closed: its time to live begins. One that was never kept is none of the table's."""
        if stream.id in self._streams:
            del self._open[stream.id]
            self._closed[stream.id] = stream
            self._closed_bytes += stream.log.nbytes
            self._rearm(stream)

    def forget(self, id: str) -> None:
        """Drop a stream."""
        self._streams.pop(id, None)
        self._open.pop(id, None)
        if (stream := self._closed.pop(id, None)) is not None:
            self._closed_bytes -= stream.log.nbytes
        if timer := self._timers.pop(id, None):
            timer.cancel()

    def clear(self) -> None:
        """Drop every stream."""
        for id in list(self._streams):
            self.forget(id)

    def _rearm(self, stream: Stream) -> None:
        if stream.id not in self._streams:
            return
        if timer := self._timers.pop(stream.id, None):
            timer.cancel()
        loop = asyncio.get_running_loop()
        if stream.closed:
            self._timers[stream.id] = loop.call_later(self._config.stream_ttl_s, self.forget, stream.id)
        elif not stream.consumers and not stream.request.detached:
            self._timers[stream.id] = loop.call_later(self._config.grace_s, self._on_abandoned, stream)
