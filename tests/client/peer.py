"""A server that speaks the protocol and misbehaves as a test wants it to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from jupyter_streaminfer.protocol import ClientMessage, ErrorInfo, Health, ServerMessage

_decode = msgspec.json.Decoder(ClientMessage).decode
_encode = msgspec.json.Encoder().encode


class PeerSocket(WebSocketHandler):
    """One connection of a client."""

    peer: Peer

    def initialize(self, peer: Peer) -> None:
        self.peer = peer

    def prepare(self) -> None:
        if self.peer.refusal is not None:
            self.set_status(403)
            self.finish(_encode(self.peer.refusal))

    def open(self) -> None:
        self.peer.clients.append(self.get_query_argument("client"))
        self.peer.sockets.add(self)
        self.number = len(self.peer.clients)
        """Counts the connections, from 1."""

    def on_close(self) -> None:
        self.peer.sockets.discard(self)

    def on_message(self, message: str | bytes) -> None:
        request = _decode(message)
        self.peer.asked.append(request)
        self.peer.script(self, request)

    def say(self, *messages: ServerMessage) -> None:
        for message in messages:
            self.write_message(_encode(message))

    def cut(self) -> None:
        """Drop the connection without a word, after what was said."""
        assert self.ws_connection is not None
        self.ws_connection.stream.close()


class PeerHealth(RequestHandler):
    def initialize(self, peer: Peer) -> None:
        self.peer = peer

    def get(self) -> None:
        self.peer.rest_clients.append(self.request.headers["X-Streaminfer-Client"])
        self.finish(json.loads(_encode(Health("ok", "0", 0, 0, 0))))


class Peer:
    """``with`` runs it. ``script(socket, request)`` is called on its loop with each request."""

    def __init__(self, script: Callable[[PeerSocket, Any], None]) -> None:
        self.script = script
        self.asked: list[Any] = []
        """Every request that came, over any connection."""
        self.clients: list[str] = []
        """Who made each connection."""
        self.rest_clients: list[str] = []
        """Who made each REST call."""
        self.sockets: set[PeerSocket] = set()
        self.refusal: ErrorInfo | None = None
        """What new connections are refused with."""
        self._sockets = bind_sockets(0, "127.0.0.1")
        self.url = f"http://127.0.0.1:{self._sockets[0].getsockname()[1]}/"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="peer", daemon=True)

    def asked_for(self, kind: type) -> list[Any]:
        return [request for request in self.asked if isinstance(request, kind)]

    def __enter__(self) -> Peer:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.vanish()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def vanish(self) -> None:
        """Close every connection and take no more."""
        self._call(self._stop())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        routes = [(r"/streaminfer/ws", PeerSocket), (r"/streaminfer/api/health", PeerHealth)]
        self._server = HTTPServer(Application([(route, handler, {"peer": self}) for route, handler in routes]))
        self._server.add_sockets(self._sockets)

    async def _stop(self) -> None:
        self._server.stop()
        for each in list(self.sockets):
            each.cut()
        await self._server.close_all_connections()
