"""What a client needs from the engine, wherever that is."""

from __future__ import annotations

from typing import Protocol

from jupyter_streaminfer.protocol import (
    Attach,
    Attached,
    Cancel,
    Continue,
    Embed,
    Embeddings,
    Event,
    Generate,
    Health,
    LoadModel,
    Metrics,
    ModelStatus,
    Notice,
    Predict,
    Result,
    Score,
    Scores,
    StreaminferError,
    StreamStatus,
)


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


class Transport(Protocol):
    """The calls, to be made on the I/O loop. Every refusal is a `StreaminferError`."""

    url: str | None
    """The server's base URL; None for an engine in this process."""

    async def generate(self, request: Generate, sink: Sink) -> None:
        """Start a stream; returns when ``sink`` was told `Attached`. Cancelling this call ends the stream."""

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

    async def unload(self, name: str) -> None:
        """Free a model."""

    async def models(self) -> list[ModelStatus]:
        """Every model."""

    async def model(self, name: str) -> ModelStatus:
        """One model."""

    async def streams(self) -> list[StreamStatus]:
        """Every stream that is kept."""

    async def health(self) -> Health:
        """How the engine is."""

    async def metrics(self) -> Metrics:
        """What the engine carries, and what it had to do about it."""

    async def close(self) -> None:
        """Tell every sink that it is over, and free what the transport holds."""
