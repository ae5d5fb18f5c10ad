"""The engine in this process: what `connect` falls back to where no server is."""

from __future__ import annotations

import asyncio
import atexit
import secrets
import tempfile
import threading
import weakref
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_streaminfer.client.embedded_store import EmbeddedStore
from jupyter_streaminfer.client.encoding import checked
from jupyter_streaminfer.client.errors import ConnectionLostError
from jupyter_streaminfer.client.loop import IOLoop
from jupyter_streaminfer.client.transport import Sink, Store, Watcher
from jupyter_streaminfer.protocol import (
    Alert,
    AlertRules,
    Attach,
    Cancel,
    Continue,
    Embed,
    Embeddings,
    Generate,
    Health,
    LoadModel,
    LoadVersion,
    Metrics,
    ModelSettings,
    ModelStatus,
    Predict,
    Reloaded,
    Result,
    Route,
    RouteStatus,
    Run,
    Score,
    Scores,
    StreaminferError,
    StreamStatus,
    Watch,
    Watching,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_streaminfer.engine import Cursor, Engine, Stream
    from jupyter_streaminfer.engine.sampler import Tick

SAMPLES_AT_ONCE = 16
"""What of the past is read between two turns of the loop: with twenty busy models, some milliseconds."""

_metrics = msgspec.json.Decoder(Metrics).decode


class EmbeddedEngine:
    """One engine on one I/O thread, shared by every embedded client of the process.

    It lives until each of them was closed, or the process ends. Dropping one is not closing it: a cell that is run
    again, and makes a new client, finds its models.
    """

    _shared: EmbeddedEngine | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self.io = IOLoop()
        self.engine = self.io.run(_new_engine())
        self._users = 0
        # At the process's end torch takes itself apart in finalizers, which would pull the ground from under a step
        # that is computed just then. They are run by a handler that the first finalizer of all registers, and
        # handlers run last registered first: with one registered now, ours comes before it.
        weakref.finalize(self, lambda: None).detach()
        atexit.register(self._close)

    @classmethod
    def acquire(cls) -> EmbeddedEngine:
        """The process's engine, with one more user."""
        with cls._lock:
            if cls._shared is None:
                cls._shared = cls()
            cls._shared._users += 1
            return cls._shared

    def release(self) -> None:
        """One user less; the last one closes the engine."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            EmbeddedEngine._shared = None
        atexit.unregister(self._close)
        self._close()

    def _close(self) -> None:
        try:
            self.io.run(self.engine.close())
        finally:
            self.io.stop()


class EmbeddedTransport:
    """The calls, made to the engine directly."""

    url: str | None = None

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._client = secrets.token_urlsafe(12)
        """Who asks: the engine is fair between clients."""
        self.store: Store = EmbeddedStore(engine, self._client)
        self._readings: set[Reading] = set()
        self._watchers: dict[Watcher, Callable[[], None]] = {}
        """Who is told samples, and what ends that."""

    async def generate(self, request: Generate, sink: Sink) -> None:
        """See `Transport.generate`."""
        request, _ = checked(request)
        stream = await self._engine.generate(request, self._client)
        self._read(stream, Attach(request.id, stream.id, snapshot=True), sink)

    async def run(self, request: Run, sink: Sink) -> None:
        """See `Transport.run`."""
        request, _ = checked(request)
        stream = await self._engine.run(request, self._client)
        self._read(stream, Attach(request.id, stream.id, snapshot=True), sink)

    async def continue_(self, request: Continue, sink: Sink) -> None:
        """See `Transport.continue_`."""
        request, _ = checked(request)
        stream = await self._engine.continue_(request, self._client)
        self._read(stream, Attach(request.id, stream.id, snapshot=True), sink)

    async def attach(self, request: Attach, sink: Sink) -> None:
        """See `Transport.attach`."""
        request, _ = checked(request)
        self._read(self._engine.stream(request.stream), request, sink)

    async def cancel(self, request: Cancel) -> None:
        """See `Transport.cancel`."""
        request, _ = checked(request)
        self._engine.cancel(request.stream)

    async def predict(self, request: Predict) -> Result:
        """See `Transport.predict`."""
        request, _ = checked(request)
        return await self._engine.predict(request, self._client)

    async def embed(self, request: Embed) -> Embeddings:
        """See `Transport.embed`."""
        request, _ = checked(request)
        return await self._engine.embed(request, self._client)

    async def score(self, request: Score) -> Scores:
        """See `Transport.score`."""
        request, _ = checked(request)
        return await self._engine.score(request, self._client)

    async def load(self, request: LoadModel) -> ModelStatus:
        """See `Transport.load`."""
        request, _ = checked(request)
        return await self._engine.load(**_fields(request))

    async def swap(self, name: str, request: LoadVersion) -> ModelStatus:
        """See `Transport.swap`."""
        request, _ = checked(request)
        return await self._engine.swap(name, **_fields(request))

    async def rollback(self, name: str) -> ModelStatus:
        """See `Transport.rollback`."""
        return await self._engine.rollback(name)

    async def activate(self, name: str, version: str) -> ModelStatus:
        """See `Transport.activate`."""
        return await self._engine.activate(name, version)

    async def unload(self, ref: str) -> None:
        """See `Transport.unload`."""
        await self._engine.unload(ref)

    async def configure(self, name: str, settings: ModelSettings) -> ModelStatus:
        """See `Transport.configure`."""
        settings, _ = checked(settings)
        return await self._engine.configure(name, settings)

    async def route(self, name: str, route: Route | None) -> RouteStatus:
        """See `Transport.route`."""
        return self._engine.route(name, None if route is None else checked(route)[0])

    async def routed(self, name: str) -> RouteStatus:
        """See `Transport.routed`."""
        return self._engine.routed(name)

    async def reload(self) -> Reloaded:
        """See `Transport.reload`."""
        raise StreaminferError(
            "invalid_request", "An engine in this process has no configuration to read again; client.load, client.swap."
        )

    async def models(self) -> list[ModelStatus]:
        """See `Transport.models`."""
        return self._engine.models()

    async def model(self, ref: str) -> ModelStatus:
        """See `Transport.model`."""
        return self._engine.model(ref)

    async def streams(self) -> list[StreamStatus]:
        """See `Transport.streams`."""
        return self._engine.streams()

    async def health(self) -> Health:
        """See `Transport.health`."""
        return self._engine.health()

    async def metrics(self) -> Metrics:
        """See `Transport.metrics`."""
        return self._engine.metrics()

    async def history(self, seconds: float) -> list[Metrics]:
        """See `Transport.history`. Streams go on meanwhile."""
        samples: list[Metrics] = []
        for text in self._engine.history_texts(seconds):
            samples.append(_metrics(text))
            if len(samples) % SAMPLES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return samples

    async def alerts(self) -> list[Alert]:
        """See `Transport.alerts`."""
        return self._engine.alerts()

    async def set_alerts(self, rules: AlertRules) -> list[Alert]:
        """See `Transport.set_alerts`."""
        return self._engine.set_alerts(checked(rules)[0].rules)

    async def watch(self, watcher: Watcher) -> None:
        """See `Transport.watch`."""
        from jupyter_streaminfer.engine.sampler import INTERVAL_S

        request, _ = checked(Watch("watch", list(watcher.topics), watcher.history_s))

        def on_tick(tick: Tick) -> None:
            for topic in request.topics:
                watcher.sample(tick.sample(topic))

        early: list[Tick] = []  # what comes before the past was told
        unwatch = self._watchers[watcher] = self._engine.watch(early.append)
        past: list[Metrics] = []
        try:
            if "metrics" in request.topics:
                past = await self.history(request.history_s)
        except BaseException:
            await self.unwatch(watcher)
            raise
        if self._watchers.get(watcher) is not unwatch:
            return  # it was ended meanwhile
        unwatch()
        watcher.watching(Watching(request.id, INTERVAL_S, past))
        for tick in early:
            on_tick(tick)
        self._watchers[watcher] = self._engine.watch(on_tick)

    async def unwatch(self, watcher: Watcher) -> None:
        """See `Transport.unwatch`."""
        if (unwatch := self._watchers.pop(watcher, None)) is not None:
            unwatch()

    async def close(self) -> None:
        """See `Transport.close`."""
        gone = ConnectionLostError("The client was closed; what was received is kept.")
        for reading in list(self._readings):
            reading.close()
            reading.sink.lost(gone)
        for watcher in list(self._watchers):
            await self.unwatch(watcher)
            watcher.lost(gone)

    def _read(self, stream: Stream, request: Attach, sink: Sink) -> None:
        reading = Reading(stream, request, sink, self._readings)
        sink.attached(reading.cursor.attached(request.id))
        reading.wake()


class Reading:
    """One cursor and the sink that it feeds."""

    def __init__(self, stream: Stream, request: Attach, sink: Sink, readings: set[Reading]) -> None:
        self.sink = sink
        self._readings = readings
        self._due = False
        self.cursor: Cursor = stream.cursor(request.after, request.epoch, self.wake, snapshot=request.snapshot)
        readings.add(self)

    def wake(self) -> None:
        """Feed the sink at the loop's next turn: one turn for all that a step brings."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._feed)

    def _feed(self) -> None:
        self._due = False
        if self not in self._readings:
            return
        for notice in self.cursor.take_notices():
            self.sink.notice(notice)
        if events := self.cursor.take():
            self.sink.events(events)
        if self.cursor.done:
            self.close()

    def close(self) -> None:
        """Be a consumer no longer."""
        self._readings.discard(self)
        self.cursor.close()


def _fields(request: LoadVersion) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__struct_fields__}


async def _new_engine() -> Engine:
    from jupyter_streaminfer.engine import Engine, EngineConfig

    # Files that are published into this process's own engine need not outlive it.
    folder = tempfile.TemporaryDirectory(prefix="streaminfer-")
    atexit.register(folder.cleanup)
    return Engine(EngineConfig(store_dir=folder.name))
