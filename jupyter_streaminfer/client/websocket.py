"""The WebSocket of a server: many requests and streams on one connection, told apart by their ids."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, WebSocketError, websocket_connect

from jupyter_streaminfer.client.address import Address
from jupyter_streaminfer.client.errors import ConnectionLostError
from jupyter_streaminfer.client.transport import Sink
from jupyter_streaminfer.protocol import (
    Attach,
    Attached,
    Cancel,
    Cancelled,
    Completed,
    Delta,
    Embed,
    Error,
    Failed,
    Generate,
    Ok,
    Pong,
    Predict,
    Reply,
    Result,
    Score,
    ServerMessage,
    StreaminferError,
)

MAX_FRAME_BYTES = 256 * 2**20
"""A stream of a million tokens, read again as one merged delta, is about 40 MB of JSON."""
PING_S = 30.0
"""Seconds between pings, and without a pong until the connection counts as lost."""

_decoder: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)


class Connection:
    """Connects when something is asked, and again after a loss. Used on the I/O loop only."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: WebSocketClientConnection | None = None
        self._attempt = 0
        """Counts connections, so that what a lost one still says is not taken for the new one's."""
        self._ended = 0
        """The last attempt whose connection is over."""
        self._connecting = asyncio.Lock()
        self._asked: dict[str, asyncio.Future[Reply]] = {}
        """Requests that wait for their answer."""
        self._opening: dict[str, Sink | None] = {}
        """The sinks of those whose answer begins a stream; None where nobody wants that stream any longer."""
        self._sinks: dict[str, Sink] = {}
        """The streams that are being read."""

    async def ask(self, request: Predict | Embed | Score | Cancel, text: bytes) -> Reply:
        """Send a request and wait for its one answer."""
        return await self._send(request.id, text, None)

    async def open(self, request: Generate | Attach, text: bytes, sink: Sink) -> None:
        """Send a request that begins a stream, and wait until the sink was told which."""
        try:
            await self._send(request.id, text, sink)
        except asyncio.CancelledError:
            if isinstance(request, Generate) and request.id in self._opening:
                self._opening[request.id] = None
            raise

    def close(self) -> None:
        """End the connection and every reading on it, without waiting for the server to say goodbye too."""
        self._fail("The client was closed; what was received is kept.")

    async def _send(self, id: str, text: bytes, sink: Sink | None) -> Reply:
        socket = await self._connect()
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[id] = answer
        if sink is not None:
            self._opening[id] = sink
        try:
            await socket.write_message(text)
            return await answer
        except (WebSocketClosedError, StreamClosedError):
            raise self._loss() from None
        finally:
            self._asked.pop(id, None)
            if answer.done() and not answer.cancelled():
                # Read, also where the asker was cancelled just after it came.
                answer.exception()

    async def _connect(self) -> WebSocketClientConnection:
        async with self._connecting:
            if self._socket is not None:
                return self._socket
            self._attempt += 1
            try:
                socket = await websocket_connect(
                    self._address.request("ws", websocket=True),
                    on_message_callback=partial(self._receive, self._attempt),
                    ping_interval=PING_S,
                    ping_timeout=PING_S,
                    max_message_size=MAX_FRAME_BYTES,
                    resolver=self._address.resolver(),
                )
            except (HTTPClientError, OSError, WebSocketError) as error:
                raise self._address.refusal(error) from None
            if self._ended == self._attempt:
                raise self._loss()
            self._socket = socket
            return socket

    def _receive(self, attempt: int, frame: str | bytes | None) -> None:
        if attempt != self._attempt:
            return
        if frame is None:
            self._ended = attempt
            self._lose(self._loss())
            return
        try:
            message = _decoder.decode(frame)
        except msgspec.DecodeError as error:
            self._fail(
                f"The server at {self._address.url} sent what this client does not know ({error}). Install the same "
                "version of jupyter_streaminfer on both sides."
            )
            return
        self._route(message)

    def _route(self, message: ServerMessage) -> None:
        match message:
            case Delta() | Completed() | Cancelled() | Failed():
                if (sink := self._sinks.get(message.stream)) is not None:
                    sink.events([message])
                    if not isinstance(message, Delta):
                        del self._sinks[message.stream]
            case Attached():
                self._begin(message)
                self._answer(message.id, message)
            case Error(id=None):
                # The server could not read whose it is; it answers in order, so only what still waits can be meant.
                for id in list(self._asked):
                    self._refuse(id, message)
            case Error(id=str(id)):
                self._refuse(id, message)
            case Result() | Ok() | Pong():
                self._answer(message.id, message)

    def _begin(self, attached: Attached) -> None:
        sink = self._opening.pop(attached.id, None)
        if sink is not None:
            self._sinks[attached.stream] = sink
            sink.attached(attached)
        elif self._socket is not None:
            request = Cancel(f"{attached.id}-abandoned", attached.stream)
            self._socket.write_message(msgspec.json.encode(request))

    def _answer(self, id: str, reply: Reply) -> None:
        if (answer := self._asked.get(id)) is not None and not answer.done():
            answer.set_result(reply)

    def _refuse(self, id: str, error: Error) -> None:
        self._opening.pop(id, None)
        if (answer := self._asked.get(id)) is not None and not answer.done():
            answer.set_exception(
                StreaminferError(
                    error.code,
                    error.message,
                    field=error.field,
                    retryable=error.retryable,
                    retry_after_ms=error.retry_after_ms,
                )
            )

    def _loss(self) -> ConnectionLostError:
        return ConnectionLostError(
            f"The connection to {self._address.url} was lost; what was received is kept. The next call connects again: "
            "client.attach(stream.id) reads the stream from its start."
        )

    def _fail(self, reason: str) -> None:
        """Give the connection up."""
        if self._socket is not None:
            self._socket.close(1000)
            self._lose(ConnectionLostError(reason))

    def _lose(self, error: ConnectionLostError) -> None:
        self._socket = None
        self._opening.clear()
        sinks, self._sinks = self._sinks, {}
        for sink in sinks.values():
            sink.lost(error)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(error)
