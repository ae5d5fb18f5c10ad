"""What a client needs from the engine, wherever that is."""

from __future__ import annotations

from typing import Protocol

from jupyter_streaminfer.protocol import (
    Alert,
    AlertRules,
    Attach,
    Attached,
    BeginUpload,
    Cancel,
    Continue,
    Embed,
    Embeddings,
    Event,
    Generate,
    Health,
    LoadModel,
    LoadVersion,
    Metrics,
    ModelFile,
    ModelSettings,
    ModelStatus,
    Notice,
    Predict,
    Reloaded,
    Result,
    Route,
    RouteStatus,
    Run,
    Sample,
    Score,
    Scores,
    StoredModel,
    StreaminferError,
    StreamStatus,
    Topic,
    UploadStatus,
    Watching,
)


class Store(Protocol):
    """The files of models, to be called on the I/O loop. Every refusal is a `StreaminferError`."""

    async def begin(self, request: BeginUpload) -> UploadStatus:
        """Begin an upload."""

    async def status(self, id: str) -> UploadStatus:
        """What came of an upload so far."""

    async def write(self, id: str, file: str, offset: int, data: bytes) -> None:
        """Add to a file, at most `MAX_CHUNK_BYTES`, where what came of it ends."""

    async def commit(self, id: str) -> StoredModel:
        """Make a version of an upload that is whole."""

    async def abort(self, id: str) -> None:
        """Drop an upload."""

    async def files(self, name: str, version: str) -> list[ModelFile]:
        """The files of a version, or of the ``latest``."""

    async def read(self, name: str, version: str, file: ModelFile, offset: int) -> bytes:
        """At most `MAX_CHUNK_BYTES` of a file from ``offset`` on; some, while there are any."""


class Sink(Protocol):
    """Where one stream's events go. Called on the I/O loop, and never blocks it."""

    def attached(self, attached: Attached) -> None:
        """The first thing that is told: which stream this is. Told again after each lost connection."""

    def events(self, events: list[Event]) -> None:
        """New events, in the order of their ``seq``."""

    def notice(self, notice: Notice) -> None:
        """Something to know about the stream; not one of its events."""

    def lost(self, error: StreaminferError) -> None:
        """Nothing more will come, although the stream may go on without this reader."""


class Watcher(Protocol):
    """Where samples go. Called on the I/O loop, and never blocks it."""

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What it is to be told of."""

    @property
    def history_s(self) -> float:
        """How far back the `Watching` that it is told reaches, in seconds."""

    def watching(self, watching: Watching) -> None:
        """The first thing that is told: samples begin. Told again after each lost connection."""

    def sample(self, sample: Sample) -> None:
        """A sample."""

    def interrupted(self, error: StreaminferError) -> None:
        """The connection was lost, and is looked for again."""

    def lost(self, error: StreaminferError) -> None:
        """Nothing more will come."""


class Transport(Protocol):
    """The calls, to be made on the I/O loop. Every refusal is a `StreaminferError`."""

    url: str | None
    """The server's base URL; None for an engine in this process."""
    store: Store
    """Its files of models."""

    async def generate(self, request: Generate, sink: Sink) -> None:
        """Start a stream; returns when ``sink`` was told `Attached`. Cancelling this call ends the stream."""

    async def run(self, request: Run, sink: Sink) -> None:
        """Start a stream of what a model yields; otherwise as `generate`."""

    async def continue_(self, request: Continue, sink: Sink) -> None:
        """Start a stream that goes on where another one stopped; otherwise as `generate`."""

    async def attach(self, request: Attach, sink: Sink) -> None:
        """Read a stream; returns when ``sink`` was told `Attached`."""

    async def cancel(self, request: Cancel) -> None:
        """End a stream."""

    async def predict(self, request: Predict) -> Result:
        """Answer one request for predictions."""

    async def embed(self, request: Embed) -> Embeddings:
        """Answer one request for embeddings."""

    async def score(self, request: Score) -> Scores:
        """Answer one request for the likelihood of continuations."""

    async def load(self, request: LoadModel) -> ModelStatus:
        """Load a model; returns when it is warmed up. Cancelling this call leaves the load under way."""

    async def swap(self, name: str, request: LoadVersion) -> ModelStatus:
        """Load another version beside the one that serves; otherwise as `load`."""

    async def rollback(self, name: str) -> ModelStatus:
        """Go back to the version before."""

    async def activate(self, name: str, version: str) -> ModelStatus:
        """Make a version that stands by the latest one."""

    async def unload(self, ref: str) -> None:
        """Free a model, or with ``name@version`` that version."""

    async def configure(self, name: str, settings: ModelSettings) -> ModelStatus:
        """Change how a model serves."""

    async def route(self, name: str, route: Route | None) -> RouteStatus:
        """Split a model's requests between versions, or no longer."""

    async def routed(self, name: str) -> RouteStatus:
        """How they are split."""

    async def reload(self) -> Reloaded:
        """Have the configuration read again."""

    async def models(self) -> list[ModelStatus]:
        """Every version of every model."""

    async def model(self, ref: str) -> ModelStatus:
        """One version."""

    async def streams(self) -> list[StreamStatus]:
        """Every stream that is kept."""

    async def health(self) -> Health:
        """How the engine is."""

    async def metrics(self) -> Metrics:
        """What the engine carries, and what it had to do about it."""

    async def history(self, seconds: float) -> list[Metrics]:
        """The same of the last seconds, the oldest first."""

    async def alerts(self) -> list[Alert]:
        """The rules and how they stand."""

    async def set_alerts(self, rules: AlertRules) -> list[Alert]:
        """Put these rules in the place of those that were asked for before."""

    async def watch(self, watcher: Watcher) -> None:
        """Have a watcher told of each sample; returns when it was told `Watching`."""

    async def unwatch(self, watcher: Watcher) -> None:
        """Tell a watcher nothing more."""

    async def close(self) -> None:
        """Tell every sink and watcher that it is over, and free what the transport holds."""
