"""The streams that a connection brings, and how they go on over another one when it is lost."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable

import msgspec

from jupyter_streaminfer.client.errors import ConnectionLostError, NotAuthorizedError
from jupyter_streaminfer.client.reading import Reading
from jupyter_streaminfer.client.retries import MAX_S, backoff_s
from jupyter_streaminfer.client.socket import Socket
from jupyter_streaminfer.protocol import TERMINAL, Event, Notice, StreaminferError

RECONNECT_S = 60.0
"""How long a lost connection is tried to be had back while something is read; from the last event on."""

_log = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[Socket]]
Send = Callable[[Socket, str, bytes, Reading], Awaitable[object]]


class Readings:
    """What is being read, by stream, whether or not a connection brings it just now. Used on the I/O loop only."""

    def __init__(self, url: str, reconnect_s: float, connect: Connect, send: Send) -> None:
        """``connect``: the connection, a new one if need be; ``send``: a request with that id that begins a reading.

        Both raise `ConnectionLostError` where there is none.
        """
        self._url = url
        self._reconnect_s = reconnect_s
        self._connect = connect
        self._send = send
        self._readings: dict[str, Reading] = {}
        self._restoring: asyncio.Task[None] | None = None
        self._failures = 0
        """Connections lost or not had since the last event."""
        self._give_up_at = 0.0
        self._ids = itertools.count(1)

    def add(self, reading: Reading) -> None:
        """Note that the connection brings a stream to this reader."""
        self._readings[reading.stream] = reading

    def remove(self, stream: str) -> None:
        """Feed a stream's reader no longer."""
        self._readings.pop(stream, None)

    def feed(self, event: Event) -> bool:
        """Pass an event on to its reader; False where it is not the one that follows what the reader has."""
        reading = self._readings.get(event.stream)
        if reading is None or reading.waiting:
            return True
        if not reading.take(event):
            _log.warning("Stream %s: event %d came where %d was due", event.stream, event.seq, reading.after + 1)
            return False
        self._failures = 0
        if isinstance(event, TERMINAL):
            del self._readings[event.stream]
        return True

    def notice(self, notice: Notice) -> None:
        """Pass a notice on to its reader."""
        if (reading := self._readings.get(notice.stream)) is not None:
            reading.sink.notice(notice)

    def refuse(self, request: str, error: StreaminferError) -> None:
        """End the reading that a request began, if it is one: the server has no more of it for a reader so late."""
        for reading in list(self._readings.values()):
            if reading.request == request and not reading.waiting:
                self.remove(reading.stream)
                reading.lose(error)

    def interrupted(self, held_s: float) -> None:
        """See to another connection, if anything is read: the one that held so long was lost."""
        if held_s >= MAX_S:
            self._failures = 0
        for reading in self._readings.values():
            reading.waiting = True
        if self._readings and (self._restoring is None or self._restoring.done()):
            self._restoring = asyncio.create_task(self._restore())

    def lose(self, error: StreaminferError) -> None:
        """End every reading."""
        self._abandon(list(self._readings.values()), error)

    def close(self) -> None:
        """Look for no connection any longer."""
        if self._restoring is not None:
            self._restoring.cancel()

    async def _restore(self) -> None:
        """Connect again and read on, until every stream is brought again or it took too long."""
        clock = asyncio.get_running_loop().time
        while waiting := [reading for reading in self._readings.values() if reading.waiting]:
            if self._failures == 0:
                self._give_up_at = clock() + self._reconnect_s
            left_s = self._give_up_at - clock()
            if left_s <= 0:
                self._abandon(waiting, self._not_back())
                return
            await asyncio.sleep(min(left_s, backoff_s(self._failures)))
            self._failures += 1
            try:
                socket = await self._connect()
            except NotAuthorizedError as error:
                self._abandon(waiting, error)
                return
            except StreaminferError as error:
                _log.info("Not connected again yet (%d): %s", self._failures, error)
                continue
            _log.info("Connected again to %s, to read on %d streams", self._url, len(waiting))
            await asyncio.gather(*(self._reattach(socket, reading) for reading in waiting))

    async def _reattach(self, socket: Socket, reading: Reading) -> None:
        """Have a connection bring a stream from where its reader is; leaves it waiting if the connection is lost."""
        for failures in itertools.count():
            request = reading.again(f"again-{next(self._ids)}")
            try:
                await self._send(socket, request.id, msgspec.json.encode(request), reading)
                return
            except ConnectionLostError:
                return
            except StreaminferError as error:
                wait_s = (error.info.retry_after_ms or 0) / 1000 or backoff_s(failures)
                if not error.info.retryable or asyncio.get_running_loop().time() + wait_s > self._give_up_at:
                    self.remove(reading.stream)
                    reading.lose(error)
                    return
            await asyncio.sleep(wait_s)

    def _abandon(self, readings: list[Reading], error: StreaminferError) -> None:
        for reading in readings:
            self.remove(reading.stream)
            reading.sink.lost(error)

    def _not_back(self) -> ConnectionLostError:
        return ConnectionLostError(
            f"The connection to {self._url} was lost and could not be had back within {self._reconnect_s:g} s; what "
            "was received is kept. The next call connects again: client.attach(stream.id) reads the stream from its "
            "start."
        )
