"""One client's connection: many requests at once, and one pump that writes what all its streams bring."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

import msgspec

from jupyter_streaminfer.engine import INTERVAL_S, Answer, Cursor, Engine, Pending, Stream
from jupyter_streaminfer.protocol import (
    Ack,
    AnyRequest,
    Attach,
    Cancel,
    Continue,
    Embed,
    Error,
    ErrorInfo,
    Generate,
    Metrics,
    Ok,
    Ping,
    Pong,
    Predict,
    Reply,
    Run,
    Score,
    StreaminferError,
    Unwatch,
    Watch,
    Watching,
)
from jupyter_streaminfer.server.decode import UnreadableRequestError, decode_message
from jupyter_streaminfer.server.watch import Watcher
from jupyter_streaminfer.server.writes import Writes

WRITE_BYTES = 256 * 1024
"""What one write takes at most, beyond its last frame; then the socket has to take it before more is made."""
OUTBOX_BYTES = 1024 * 1024
"""Replies that wait to be written at most; beyond it no further frame is read until they are."""

Opening = Generate | Run | Continue
"""Requests whose answer is a stream, once a model has admitted them."""

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Transport(Protocol):
    """What carries a connection's frames, whoever parses them."""

    def send(self, frames: list[bytes]) -> asyncio.Future[None] | None:
        """Write text frames, in order. None where the socket took them all; else what is done when it has.

        Raises `OSError`, or the future does, when it is closed.
        """

    def close(self, code: int, reason: str) -> None:
        """Say goodbye: a close frame after all that was written."""

    def abort(self) -> None:
        """Drop the socket."""


class Connection:
    """Requests in, frames out. Used on the engine's event loop only."""

    def __init__(
        self,
        engine: Callable[[], Engine],
        transport: Transport,
        writes: Writes,
        max_requests: int,
        on_request: Callable[[], None],
        client: str = "",
    ) -> None:
        """``engine`` raises `StreaminferError` while there is none; ``on_request`` is told of each request for work.

        ``writes`` is shared by all connections. ``client``: whose requests they are.
        """
        self.transport = transport
        self._writes = writes
        self.client = client
        self._engine = engine
        self._max_requests = max_requests
        self._on_request = on_request
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The requests whose stream is not there yet, by request id."""
        self._questions: dict[str, Pending] = {}
        """The requests that wait for their one answer, by request id."""
        self._readings: dict[str, Cursor] = {}
        """The streams that are being read, by the id of the request that began it."""
        self._streams: dict[str, Cursor] = {}
        """The same by the streams' own ids."""
        self._ready: dict[str, None] = {}
        """Those of them that have something to take, in the order in which it came."""
        self._watcher: Watcher | None = None
        """What it is sent of the samples, while it watches."""
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._writing = False
        """Whether `_write` is on its way already: with the next turn of the loop, or when the socket is drained."""
        self._lost = False
        """Whether the socket is known to be gone: what was read of it before means nothing any more."""
        self._relief: asyncio.Future[None] | None = None
        """What is awaited before a further frame is read."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the socket is gone."""

    # What the client sends.

    def receive(self, frame: bytes) -> asyncio.Future[None] | None:
        """Take one text frame. Where the client does not read its answers, what is returned is to be awaited first."""
        if self._lost:
            return None
        id = None
        try:
            message = decode_message(frame)
            if isinstance(message, Ack):
                self._acknowledge(message)
            else:
                id = message.id
                self._start(message)
        except UnreadableRequestError as error:
            self._reply(Error.of(error.info, error.id))
        except StreaminferError as error:
            self._reply(Error.of(error.info, id))
        except Exception:
            self._reply(self._fault(id))
        if self._outbox_bytes <= OUTBOX_BYTES:
            return None
        if self._relief is None:
            self._relief = self._loop.create_future()
        return self._relief

    def receive_binary(self) -> None:
        """Refuse a binary frame."""
        error = ErrorInfo(
            "invalid_request", "Binary frames are not understood. Send each request as a text frame of JSON."
        )
        self._reply(Error.of(error))

    def close(self, code: int, reason: str) -> None:
        """Write what there still is and say goodbye; `closed` follows when the client answered."""
        with contextlib.suppress(OSError):
            while frames := self._next_frames():
                self.transport.send(frames)
        self.transport.close(code, reason)

    def closed(self, *, dropped: bool = False) -> None:
        """Let go of everything: the socket is gone. ``dropped``: because the client was found to read no more."""
        if not self.ended.done():
            self.ended.set_result(None)
        self._relieve()
        if dropped and self._watcher is not None:
            self._watcher.drop()
        self._unwatch()
        for task in self._tasks.values():
            task.cancel()
        for question in self._questions.values():
            question.cancel()
        self._questions.clear()
        for cursor in self._readings.values():
            cursor.close()
        self._readings.clear()
        self._streams.clear()
        self._ready.clear()

    def _start(self, request: AnyRequest) -> None:
        id = request.id
        if id in self._questions or id in self._tasks or id in self._readings:
            raise StreaminferError(
                "invalid_request",
                f"A request with id {id!r} is under way on this connection. Give each one an id of its own.",
                field="id",
            )
        match request:
            case Predict() | Embed() | Score():
                self._admit()
                self._questions[id] = self._engine().ask(request, self.client, partial(self._answered, id))
            # What follows is no work: it keeps no idle server alive.
            case Ping():
                self._reply(Pong(id))
                return
            case Watch():
                self._watch(request)
                return
            case Unwatch():
                self._unwatch()
                self._reply(Ok(id))
                return
            case Cancel():
                self._engine().cancel(request.stream)
                self._reply(Ok(request.id))
            case Attach():
                self._admit()
                stream = self._engine().stream(request.stream)
                self._read(request.id, stream, request.after, request.epoch, snapshot=request.snapshot)
            case Generate() | Run() | Continue():
                self._admit()
                self._tasks[request.id] = asyncio.create_task(self._open(request))
        self._on_request()

    def _watch(self, request: Watch) -> None:
        self._unwatch()
        self._watcher = Watcher(self._engine(), request.topics, self._wake)
        # Each text goes out as it is, in the place of the metrics that it says.
        history = cast(list[Metrics], self._watcher.history(request.history_s))
        self._reply(Watching(request.id, INTERVAL_S, history))

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _acknowledge(self, ack: Ack) -> None:
        """Note what a reader has dealt with; one of a stream that is not read here any more came too late."""
        if cursor := self._streams.get(ack.stream):
            cursor.acknowledge(ack.seq)

    def _admit(self) -> None:
        if len(self._questions) + len(self._tasks) + len(self._readings) >= self._max_requests:
            raise StreaminferError(
                "overloaded",
                f"{self._max_requests} requests are under way on this connection, the most it may have. Send this "
                "one again when another has ended.",
                retryable=True,
            )

    def _answered(self, id: str, answer: Answer | StreaminferError) -> None:
        """Pass the answer to a question on."""
        del self._questions[id]
        self._reply(Error.of(answer.info, id) if isinstance(answer, StreaminferError) else answer)

    # Streams take a task each until they are there, so that none waits for another.

    async def _open(self, request: Opening) -> None:
        engine, client = self._engine(), self.client
        try:
            match request:
                case Generate():
                    stream = await engine.generate(request, client)
                case Run():
                    stream = await engine.run(request, client)
                case Continue():
                    stream = await engine.continue_(request, client)
            # Who began it knows it by this answer only: where its log shrank before this turn, a snapshot tells that.
            self._read(request.id, stream, snapshot=True)
        except StreaminferError as error:
            self._reply(Error.of(error.info, request.id))
        except Exception:
            self._reply(self._fault(request.id))
        finally:
            del self._tasks[request.id]

    def _read(
        self, id: str, stream: Stream, after: int = -1, epoch: str | None = None, *, snapshot: bool = False
    ) -> None:
        if stream.id in self._streams:
            raise StreaminferError(
                "invalid_request",
                f"This connection reads stream {stream.id} already, and events do not say which reading they are for. "
                "Read it once and share it, or attach on another connection.",
                field="stream",
            )
        cursor = stream.cursor(after, epoch, partial(self._mark, id), snapshot=snapshot)
        self._readings[id] = self._streams[stream.id] = cursor
        self._reply(cursor.attached(id))
        self._mark(id)

    def _let_go(self, id: str) -> None:
        cursor = self._readings.pop(id)
        self._ready.pop(id, None)
        del self._streams[cursor.stream.id]
        cursor.close()

    def _fault(self, id: str | None) -> Error:
        _log.exception("A request on a streaminfer connection failed")
        return Error.of(ErrorInfo("internal", "The server failed on this request; its log says more."), id)

    # What the client is sent.

    def _mark(self, id: str) -> None:
        self._ready[id] = None
        self._wake()

    def _reply(self, reply: Reply) -> None:
        frame = _encode(reply)
        self._outbox.append(frame)
        self._outbox_bytes += len(frame)
        self._wake()

    def _wake(self) -> None:
        """Have what there is written with the next turn of the loop: all that this one brings, at once."""
        if not self._writing:
            self._writing = True
            self._writes.add(self._write)

    def _write(self) -> None:
        self._writing = False
        if self.ended.done():
            return
        try:
            frames = self._next_frames()
            full = self.transport.send(frames) if frames else None
        except OSError:
            self._lose()
            return
        if full is None:
            self._relieve()
        else:
            self._writing = True
            full.add_done_callback(self._drained)

    def _drained(self, full: asyncio.Future[None]) -> None:
        if full.cancelled() or full.exception() is not None:
            self._lose()
        else:
            self._relieve()
            self._write()

    def _lose(self) -> None:
        """Write no more: the socket is gone. Its owner hears of that as it reads on, and calls `closed`."""
        self._writing = self._lost = True
        self._relieve()

    def _relieve(self) -> None:
        if self._relief is not None:
            if not self._relief.done():
                self._relief.set_result(None)
            self._relief = None

    def _next_frames(self) -> list[bytes]:
        """The replies, the latest sample, and what the ready streams have.

        That is all that came while the last write was under way, merged.
        """
        frames, size = self._outbox, self._outbox_bytes
        self._outbox, self._outbox_bytes = [], 0
        if self._watcher is not None:
            frames += self._watcher.take()
        while self._ready and size < WRITE_BYTES:
            id = next(iter(self._ready))
            del self._ready[id]
            cursor = self._readings[id]
            try:
                taken, done = cursor.take_frames(), cursor.done
            except StreaminferError as error:
                # It lagged until the log no longer had what it was to read next.
                taken, done = [_encode(Error.of(error.info, id))], True
            frames += taken
            size += sum(map(len, taken))
            if done:
                self._let_go(id)
        if self._ready:
            self._wake()
        return frames
