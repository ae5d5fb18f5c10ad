"""A server elsewhere: one WebSocket for requests and streams, plain HTTP for everything else."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from jupyter_streaminfer.client.address import Address
from jupyter_streaminfer.client.discovery import Server
from jupyter_streaminfer.client.encoding import checked
from jupyter_streaminfer.client.readings import RECONNECT_S
from jupyter_streaminfer.client.rest import Rest
from jupyter_streaminfer.client.transport import Sink
from jupyter_streaminfer.client.websocket import Connection
from jupyter_streaminfer.protocol import (
    Attach,
    Cancel,
    Continue,
    Embed,
    Embeddings,
    Generate,
    Health,
    LoadModel,
    Metrics,
    ModelStatus,
    Predict,
    Result,
    Score,
    Scores,
    StreamStatus,
)


class _Models(msgspec.Struct):
    models: list[ModelStatus]


class _Streams(msgspec.Struct):
    streams: list[StreamStatus]


class ServerTransport:
    """The calls, made to the extension in a Jupyter server."""

    def __init__(self, server: Server, reconnect_s: float = RECONNECT_S) -> None:
        """``reconnect_s``: how long a lost connection is tried to be had back while something is read."""
        self.url: str | None = server.url
        address = Address(server)
        self._rest = Rest(address)
        self._connection = Connection(address, reconnect_s)

    async def generate(self, request: Generate, sink: Sink) -> None:
        """See `Transport.generate`."""
        request, text = checked(request)
        await self._connection.open(request, text, sink)

    async def continue_(self, request: Continue, sink: Sink) -> None:
        """See `Transport.continue_`."""
        request, text = checked(request)
        await self._connection.open(request, text, sink)

    async def attach(self, request: Attach, sink: Sink) -> None:
        """See `Transport.attach`."""
        request, text = checked(request)
        await self._connection.open(request, text, sink)

    async def cancel(self, request: Cancel) -> None:
        """See `Transport.cancel`."""
        request, text = checked(request)
        await self._connection.ask(request, text)

    async def predict(self, request: Predict) -> Result:
        """See `Transport.predict`."""
        request, text = checked(request)
        reply = await self._connection.ask(request, text)
        assert isinstance(reply, Result)  # noqa: S101 (what a server answers to `predict` if not an error)
        return reply

    async def embed(self, request: Embed) -> Embeddings:
        """See `Transport.embed`."""
        request, text = checked(request)
        reply = await self._connection.ask(request, text)
        assert isinstance(reply, Embeddings)  # noqa: S101
        return reply

    async def score(self, request: Score) -> Scores:
        """See `Transport.score`."""
        request, text = checked(request)
        reply = await self._connection.ask(request, text)
        assert isinstance(reply, Scores)  # noqa: S101
        return reply

    async def load(self, request: LoadModel) -> ModelStatus:
        """See `Transport.load`."""
        _, text = checked(request)
        return await self._rest.call("POST", "models", ModelStatus, body=text, timeout_s=0.0)

    async def unload(self, name: str) -> None:
        """See `Transport.unload`."""
        await self._rest.call("DELETE", f"models/{_segment(name)}", Any)

    async def models(self) -> list[ModelStatus]:
        """See `Transport.models`."""
        return (await self._rest.call("GET", "models", _Models)).models

    async def model(self, name: str) -> ModelStatus:
        """See `Transport.model`."""
        return await self._rest.call("GET", f"models/{_segment(name)}", ModelStatus)

    async def streams(self) -> list[StreamStatus]:
        """See `Transport.streams`."""
        return (await self._rest.call("GET", "streams", _Streams)).streams

    async def health(self) -> Health:
        """See `Transport.health`."""
        return await self._rest.call("GET", "health", Health)

    async def metrics(self) -> Metrics:
        """See `Transport.metrics`."""
        return await self._rest.call("GET", "metrics", Metrics)

    async def close(self) -> None:
        """See `Transport.close`."""
        self._connection.close()
        self._rest.close()


def _segment(name: str) -> str:
    return quote(name, safe="")
