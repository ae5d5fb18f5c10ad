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
from jupyter_streaminfer.client.server_store import ServerStore
from jupyter_streaminfer.client.transport import Sink, Store, Watcher
from jupyter_streaminfer.client.websocket import Connection
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
    StreamStatus,
)


class _Models(msgspec.Struct):
    models: list[ModelStatus]


class _Streams(msgspec.Struct):
    streams: list[StreamStatus]


class _Samples(msgspec.Struct):
    samples: list[Metrics]


class _Alerts(msgspec.Struct):
    alerts: list[Alert]


class ServerTransport:
    """The calls, made to the extension in a Jupyter server."""

    def __init__(self, server: Server, reconnect_s: float = RECONNECT_S) -> None:
        """``reconnect_s``: how long a lost connection is tried to be had back while something is read."""
        self.url: str | None = server.url
        address = Address(server)
        self._rest = Rest(address)
        self._connection = Connection(address, reconnect_s)
        self.store: Store = ServerStore(self._rest)

    async def generate(self, request: Generate, sink: Sink) -> None:
        """See `Transport.generate`."""
        request, text = checked(request)
        await self._connection.open(request, text, sink)

    async def run(self, request: Run, sink: Sink) -> None:
        """See `Transport.run`."""
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

    async def swap(self, name: str, request: LoadVersion) -> ModelStatus:
        """See `Transport.swap`."""
        _, text = checked(request)
        return await self._rest.call("POST", f"{_model(name)}/versions", ModelStatus, body=text, timeout_s=0.0)

    async def rollback(self, name: str) -> ModelStatus:
        """See `Transport.rollback`."""
        return await self._rest.call("POST", f"{_model(name)}/rollback", ModelStatus, body=b"", timeout_s=0.0)

    async def activate(self, name: str, version: str) -> ModelStatus:
        """See `Transport.activate`."""
        return await self._rest.call("POST", f"{_model(f'{name}@{version}')}/activate", ModelStatus, body=b"")

    async def unload(self, ref: str) -> None:
        """See `Transport.unload`."""
        await self._rest.call("DELETE", _model(ref), Any)

    async def configure(self, name: str, settings: ModelSettings) -> ModelStatus:
        """See `Transport.configure`."""
        _, text = checked(settings)
        return await self._rest.call("PATCH", _model(name), ModelStatus, body=text)

    async def route(self, name: str, route: Route | None) -> RouteStatus:
        """See `Transport.route`."""
        if route is None:
            await self._rest.call("DELETE", f"{_model(name)}/route", Any)
            return await self.routed(name)
        _, text = checked(route)
        return await self._rest.call("PUT", f"{_model(name)}/route", RouteStatus, body=text)

    async def routed(self, name: str) -> RouteStatus:
        """See `Transport.routed`."""
        return await self._rest.call("GET", f"{_model(name)}/route", RouteStatus)

    async def reload(self) -> Reloaded:
        """See `Transport.reload`."""
        return await self._rest.call("POST", "reload", Reloaded, body=b"", timeout_s=0.0)

    async def models(self) -> list[ModelStatus]:
        """See `Transport.models`."""
        return (await self._rest.call("GET", "models", _Models)).models

    async def model(self, ref: str) -> ModelStatus:
        """See `Transport.model`."""
        return await self._rest.call("GET", _model(ref), ModelStatus)

    async def streams(self) -> list[StreamStatus]:
        """See `Transport.streams`."""
        return (await self._rest.call("GET", "streams", _Streams)).streams

    async def health(self) -> Health:
        """See `Transport.health`."""
        return await self._rest.call("GET", "health", Health)

    async def metrics(self) -> Metrics:
        """See `Transport.metrics`."""
        return await self._rest.call("GET", "metrics", Metrics)

    async def history(self, seconds: float) -> list[Metrics]:
        """See `Transport.history`."""
        return (await self._rest.call("GET", f"metrics/history?seconds={seconds:g}", _Samples)).samples

    async def alerts(self) -> list[Alert]:
        """See `Transport.alerts`."""
        return (await self._rest.call("GET", "alerts", _Alerts)).alerts

    async def set_alerts(self, rules: AlertRules) -> list[Alert]:
        """See `Transport.set_alerts`."""
        _, text = checked(rules)
        return (await self._rest.call("PUT", "alerts", _Alerts, body=text)).alerts

    async def watch(self, watcher: Watcher) -> None:
        """See `Transport.watch`."""
        await self._connection.watch(watcher)

    async def unwatch(self, watcher: Watcher) -> None:
        """See `Transport.unwatch`."""
        self._connection.unwatch(watcher)

    async def close(self) -> None:
        """See `Transport.close`."""
        self._connection.close()
        self._rest.close()


def _model(ref: str) -> str:
    """The address of a model, or of the version that ``name@version`` names."""
    name, _, version = ref.partition("@")
    address = f"models/{quote(name, safe='')}"
    return f"{address}/versions/{quote(version, safe='')}" if version not in ("", "latest") else address
