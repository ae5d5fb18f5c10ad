"""The WebSocket of a server: many requests and streams on one connection, told apart by their ids."""

from __future__ import annotations

import asyncio

import msgspec

from jupyter_streaminfer.client.address import Address
from jupyter_streaminfer.client.errors import ConnectionLostError
from jupyter_streaminfer.client.reading import Reading
from jupyter_streaminfer.client.readings import RECONNECT_S, Readings
from jupyter_streaminfer.client.socket import Socket
from jupyter_streaminfer.client.transport import Sink, Watcher
from jupyter_streaminfer.client.watches import Watches
from jupyter_streaminfer.protocol import (
    Attach,
    Attached,
    Cancel,
    Cancelled,
    Completed,
    Continue,
    Delta,
    Embed,
    Embeddings,
    Error,
    ErrorInfo,
    Failed,
    Generate,
    Incomplete,
    MetricsSample,
    ModelsSample,
    Notice,
    Ok,
    Partial,
    Pong,
    Predict,
    Reply,
    Result,
    Run,
    Score,
    Scores,
    ServerMessage,
    StreaminferError,
    StreamsSample,
    Watching,
)


class Connection:
    """Connects when something is asked, and by itself after a loss while streams are read, which then go on.

    A reader sees each event once and in order: what a connection brings is checked, and one that leaves something
    out or repeats it is given up for another. Used on the I/O loop only.
    """

    def __init__(self, address: Address, reconnect_s: float = RECONNECT_S) -> None:
        """``reconnect_s``: how long a lost connection is tried to be had back while something is read."""
        self._address = address
        self._socket: Socket | None = None
        self._connecting: asyncio.Task[Socket] | None = None
        self._asked: dict[str, asyncio.Future[Reply]] = {}
        """Requests that wait for their answer."""
        self._opening: dict[str, Reading | None] = {}
        """Those whose answer begins a stream; None where nobody wants that stream any longer."""
        self._readings = Readings(address.url, reconnect_s, self._connect, self._send)
        self._watches = Watches(address.url, self._connect, self._send)

    async def ask(self, request: Predict | Embed | Score | Cancel, text: bytes) -> Reply:
        """Send a request and wait for its one answer."""
        return await self._send(await self._connect(), request.id, text)

    async def open(self, request: Generate | Run | Continue | Attach, text: bytes, sink: Sink) -> None:
        """Send a request that begins a stream, and wait until the sink was told which."""
        reading = Reading(sink, request.after, request.epoch) if isinstance(request, Attach) else Reading(sink)
        try:
            await self._send(await self._connect(), request.id, text, reading)
        except asyncio.CancelledError:
            if not isinstance(request, Attach) and request.id in self._opening:
                self._opening[request.id] = None
            raise

    async def watch(self, watcher: Watcher) -> None:
        """Have a watcher told samples; returns when it was told `Watching`."""
        await self._watches.add(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Tell a watcher nothing more."""
        self._watches.remove(watcher)

    def close(self) -> None:
        """End the connection and every reading on it, without waiting for the server to say goodbye too."""
        self._give_up(ConnectionLostError("The client was closed; what was received is kept."))
        self._readings.close()
        self._watches.close()
        if self._connecting is not None:
            self._connecting.cancel()

    # Connecting.

    async def _connect(self) -> Socket:
        """The connection, which all who want one wait for together."""
        if self._socket is not None:
            return self._socket
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._new_socket())
            # Read, also where whoever waited was cancelled.
            self._connecting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._connecting)

    async def _new_socket(self) -> Socket:
        socket = Socket(self._address, self._route, self._on_unknown, self._lose)
        await socket.connect()
        self._socket = socket
        return socket

    def _lose(self, socket: Socket) -> None:
        """Part with the connection; what is read goes on over another one."""
        socket.close()
        self._socket = None
        self._fail_asked(
            ConnectionLostError(
                f"The connection to {self._address.url} was lost before the server answered: whether it took the "
                "request is not known. client.streams() lists the streams that it has.",
                sent=True,
            )
        )
        self._readings.interrupted(socket.held_s)
        self._watches.interrupted(ConnectionLostError(f"The connection to {self._address.url} was lost."))

    def _give_up(self, error: ConnectionLostError) -> None:
        """Part with the connection and all that was read over it."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()
        self._fail_asked(error)
        self._readings.lose(error)
        self._watches.lose(error)

    def _fail_asked(self, error: ConnectionLostError) -> None:
        self._opening.clear()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(error)

    # What is sent.

    async def _send(self, socket: Socket, id: str, text: bytes, reading: Reading | None = None) -> Reply:
        if socket.ended:
            raise ConnectionLostError(f"The connection to {self._address.url} was lost.")
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[id] = answer
        if reading is not None:
            self._opening[id] = reading
        try:
            await socket.write(text)
            return await answer
        except OSError:
            # The socket has ended or is about to, and that fails the answer, unless it had come already.
            return await answer
        finally:
            self._asked.pop(id, None)
            if answer.done() and not answer.cancelled():
                # Read, also where the asker was cancelled just after it came.
                answer.exception()

    # What comes.

    def _route(self, socket: Socket, message: ServerMessage) -> None:
        match message:
            case Delta() | Partial() | Completed() | Cancelled() | Failed() | Incomplete():
                if not self._readings.feed(message):
                    self._lose(socket)
            case Notice():
                self._readings.notice(message)
            case Attached():
                self._begin(socket, message)
            case MetricsSample() | ModelsSample() | StreamsSample():
                self._watches.feed(message)
            case Watching():
                # Now: the samples that follow are for those that wait for this answer too.
                self._watches.began(message)
                self._answer(message.id, message)
            case Error(id=None):
                # The server could not read whose it is; it answers in order, so only what still waits can be meant.
                for id in list(self._asked):
                    self._refuse(id, message)
            case Error(id=str(id)):
                self._refuse(id, message)
            case Result() | Embeddings() | Scores() | Ok() | Pong():
                self._answer(message.id, message)

    def _on_unknown(self, socket: Socket, error: Exception) -> None:
        self._give_up(
            ConnectionLostError(
                f"The server at {self._address.url} sent what this client does not know ({error}). Install the same "
                "version of jupyter_streaminfer on both sides."
            )
        )

    def _begin(self, socket: Socket, attached: Attached) -> None:
        reading = self._opening.pop(attached.id, None)
        if reading is None:
            socket.post(msgspec.json.encode(Cancel(f"{attached.id}-abandoned", attached.stream)))
            return
        try:
            reading.attached(attached)
        except StreaminferError as error:
            # Now: the events that follow are not those that the reader waits for.
            self._readings.remove(attached.stream)
            self._fail(attached.id, error)
            return
        self._readings.add(reading)
        self._answer(attached.id, attached)

    def _answer(self, id: str, reply: Reply) -> None:
        if (answer := self._asked.get(id)) is not None and not answer.done():
            answer.set_result(reply)

    def _refuse(self, id: str, error: Error) -> None:
        self._opening.pop(id, None)
        info = ErrorInfo(error.code, error.message, error.retryable, error.field, error.retry_after_ms)
        self._fail(id, StreaminferError.of(info))

    def _fail(self, id: str, error: StreaminferError) -> None:
        answer = self._asked.get(id)
        if answer is None:
            self._readings.refuse(id, error)
        elif not answer.done():
            answer.set_exception(error)
