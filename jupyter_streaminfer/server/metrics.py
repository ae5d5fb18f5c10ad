"""``streaminfer/api/metrics``: what the engine carries, in numbers; as it is, as it goes on, and as it was."""

from __future__ import annotations

import asyncio
import math
from typing import get_args

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from jupyter_streaminfer.protocol import HISTORY_S, StreaminferError, Topic
from jupyter_streaminfer.server.base import RestHandler
from jupyter_streaminfer.server.sse import CONTENT_TYPE, EventStream
from jupyter_streaminfer.server.watch import Watcher

_TOPICS: tuple[Topic, ...] = get_args(Topic)
_encode = msgspec.json.Encoder().encode


class _Handler(RestHandler):
    """Asking keeps no idle server alive."""

    _track_activity = False

    def seconds(self, name: str, default: float) -> float:
        """A time in the query; raises `StreaminferError`."""
        given = self.get_query_argument(name, None)
        if given is None:
            return default
        try:
            seconds = float(given)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= HISTORY_S:
            raise StreaminferError(
                "invalid_request",
                f"{name} must be seconds, 0 to {HISTORY_S:g}, for which samples are kept.",
                field=name,
            )
        return seconds


class MetricsHandler(_Handler):
    """The engine's numbers, for people and for what watches servers."""

    _wake: asyncio.Event | None = None

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """`Metrics`; for who accepts ``text/event-stream`` a sample of each of the ``?topics=`` a second.

        There ``?history_s=`` has the `Metrics` of the last so many seconds come first.
        """
        self.set_header("Vary", "Accept")
        if CONTENT_TYPE in self.request.headers.get("Accept", ""):
            await self._events(self._topics(), self.seconds("history_s", 0.0))
        else:
            self.reply(self.engine.metrics())

    def on_connection_close(self) -> None:
        """Watch no longer, at once."""
        super().on_connection_close()
        if self._wake is not None:
            self._wake.set()

    def _topics(self) -> list[Topic]:
        names = self.get_query_argument("topics", "metrics").split(",")
        topics = [topic for topic in _TOPICS if topic in names]
        if not set(names) <= set(topics):
            raise StreaminferError(
                "invalid_request", f"topics must be some of {','.join(_TOPICS)}, with commas between.", field="topics"
            )
        return topics

    async def _events(self, topics: list[Topic], history_s: float) -> None:
        app, gate, client = self.app, self.app.gate, self.client
        gate.check(client)
        wake = self._wake = asyncio.Event()
        watcher, events = Watcher(self.engine, topics, wake.set), EventStream(self)
        gate.enter(client)
        app.on_stop.add(wake.set)
        try:
            async with events:
                if history_s:
                    await events.send(_event("history", _encode(watcher.history(history_s))))
                while app.engine is not None:
                    await wake.wait()
                    wake.clear()
                    # Also where there is nothing: this is where a client that left is noticed.
                    await events.send(b"".join(map(_event, watcher.topics, watcher.take())))
        except StreamClosedError:
            if events.dropped:
                watcher.drop()
            return
        finally:
            watcher.close()
            gate.leave(client)
            app.on_stop.discard(wake.set)
        await self.finish()


class HistoryHandler(_Handler):
    """The samples of the last minutes."""

    def compute_etag(self) -> None:
        """None: no two answers are the same, and a digest of megabytes takes longer than all the rest."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"samples": [Metrics, ...]}`` of the last ``?seconds=``, the oldest first."""
        self.reply({"samples": self.engine.history_texts(self.seconds("seconds", HISTORY_S))})


def _event(kind: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


default_handlers = [
    (r"/streaminfer/api/metrics", MetricsHandler),
    (r"/streaminfer/api/metrics/history", HistoryHandler),
]
