"""The kernel's side of ``labextension/src/metrics/kernelSource.ts``: samples for pages that do not reach the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.subscription import Subscription
from jupyter_streaminfer.protocol import (
    HISTORY_S,
    ErrorInfo,
    Metrics,
    MetricsSample,
    Sample,
    StreaminferError,
    StreamsSample,
    Topic,
    Watching,
)

MAX_VIEWS = 32
MAX_STREAMS = 200
"""The newest so many are mirrored; a page shows no more."""
HISTORY_BYTES = 700_000
"""A Jupyter server drops messages above 1 MB/s by default: of a longer past the newest part is sent."""

_log = logging.getLogger(__name__)
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class _Watch(msgspec.Struct, tag_field="type", tag="watch", forbid_unknown_fields=True):
    """What a view of the widget wants to be sent; nothing: it is gone."""

    view: Name
    topics: Annotated[list[Topic], msgspec.Meta(max_length=3)]


class _Cancel(msgspec.Struct, tag_field="type", tag="cancel", forbid_unknown_fields=True):
    """The end of a stream is asked for."""

    stream: Name


class MetricsMirror:
    """Sends samples to a widget's pages for as long as one of them asks for any."""

    def __init__(self, client: Client, send: Callable[[dict[str, Any]], object]) -> None:
        """``send``: to all pages; called on the client's I/O thread and on others."""
        self._client = client
        self._send = send
        self._views: dict[str, list[Topic]] = {}
        self._subscription: Subscription | None = None
        self._settling = threading.Lock()
        self._closed = False
        self.newest: Metrics | None = None
        """The last metrics that were mirrored."""

    def receive(self, content: object) -> None:
        """Take what a page sends; waits for nothing."""
        try:
            message = msgspec.convert(content, _Watch | _Cancel)
        except msgspec.ValidationError as error:
            _log.warning("A page sent what no dashboard sends: %s", error)
            return
        if isinstance(message, _Cancel):
            self._client._cancel_soon(message.stream)
            return
        self._views.pop(message.view, None)
        if message.topics:
            self._views[message.view] = message.topics
            while len(self._views) > MAX_VIEWS:
                del self._views[next(iter(self._views))]  # Its page went without a word.
        self._settle_soon()

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        self._views.clear()
        self._settle_soon()

    def _settle_soon(self) -> None:
        threading.Thread(target=self._settle, name="streaminfer-mirror", daemon=True).start()

    def _settle(self) -> None:
        """Watch what is asked for by now: with the past, as whoever came last has none."""
        with self._settling:
            topics = sorted({topic for topics in list(self._views.values()) for topic in topics})
            if self._subscription is not None:
                self._subscription.close()
                self._subscription = None
            if topics and not self._closed:
                try:
                    self._subscription = self._client.metrics.watch(self._tell, topics, HISTORY_S, self._lost)
                except StreaminferError as error:
                    self._say("failed", error.info)
                except RuntimeError as error:  # The client is closed.
                    self._say("failed", ErrorInfo("internal", str(error)))

    def _tell(self, sample: Sample | Watching) -> None:
        if isinstance(sample, Watching):
            self._say("live")
            self._send({"type": "history", "samples": _newest(sample.history)})
            return
        if isinstance(sample, MetricsSample):
            self.newest = sample.metrics
            sample = MetricsSample(_slim(sample.metrics))
        elif isinstance(sample, StreamsSample):
            beyond = max(0, len(sample.streams) - MAX_STREAMS)
            sample = msgspec.structs.replace(
                sample, streams=sample.streams[:MAX_STREAMS], left_out=sample.left_out + beyond
            )
        self._send(msgspec.to_builtins(sample))

    def _lost(self, error: StreaminferError) -> None:
        over = not error.info.retryable  # Else they come again by themselves.
        self._say("failed" if over else "disconnected", error.info if over else None)

    def _say(self, state: Literal["live", "disconnected", "failed"], error: ErrorInfo | None = None) -> None:
        self._send({"type": "state", "state": state, "error": msgspec.to_builtins(error)})


def _slim(metrics: Metrics) -> Metrics:
    """Without what no dashboard shows."""
    return msgspec.structs.replace(metrics, clients=[])


def _newest(history: list[Metrics]) -> list[Any]:
    """As many of the samples as there is room for."""
    samples: list[Any] = []
    room = HISTORY_BYTES
    for metrics in map(_slim, reversed(history)):
        room -= len(msgspec.json.encode(metrics))
        if room < 0:
            break
        samples.append(msgspec.to_builtins(metrics))
    return samples[::-1]
