"""Who is sent samples over a connection, and how they are again when it was lost."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence

from jupyter_streaminfer.client.encoding import checked
from jupyter_streaminfer.client.errors import NotAuthorizedError
from jupyter_streaminfer.client.retries import backoff_s
from jupyter_streaminfer.client.socket import Socket
from jupyter_streaminfer.client.transport import Watcher
from jupyter_streaminfer.protocol import (
    MetricsSample,
    ModelsSample,
    Sample,
    StreaminferError,
    StreamsSample,
    Topic,
    Unwatch,
    Watch,
    Watching,
)

_TOPICS: dict[type, Topic] = {MetricsSample: "metrics", ModelsSample: "models", StreamsSample: "streams"}

_log = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[Socket]]
Send = Callable[[Socket, str, bytes], Awaitable[object]]


class Watches:
    """The watchers of one client, which share the one watch that a connection has. Used on the I/O loop only."""

    def __init__(self, url: str, connect: Connect, send: Send) -> None:
        """``connect``: the connection, a new one if need be; ``send``: a request with that id, until it is answered.

        Both raise `ConnectionLostError` where there is none.
        """
        self._url = url
        self._connect = connect
        self._send = send
        self._watchers: list[Watcher] = []
        """Those that were told `Watching`."""
        self._asked: dict[str, list[Watcher]] = {}
        """Requests that wait for their answer, and whom it is to be told."""
        self._topics: list[Topic] = []
        """What the server was last asked to send."""
        self._ids = itertools.count(1)
        self._restoring: asyncio.Task[None] | None = None
        self._tidying: set[asyncio.Task[None]] = set()

    async def add(self, watcher: Watcher) -> None:
        """Have a watcher told samples; returns when it was told `Watching`."""
        await self._ask([watcher])

    def remove(self, watcher: Watcher) -> None:
        """Tell a watcher nothing more."""
        for each in (self._watchers, *self._asked.values()):
            if watcher in each:
                each.remove(watcher)
        self._tidy()

    def began(self, watching: Watching) -> None:
        """Tell those that asked for it that the samples begin, each with as much of the past as it wants."""
        for watcher in self._asked.pop(watching.id, ()):
            if watcher not in self._watchers:
                self._watchers.append(watcher)
            watcher.watching(_cut(watching, watcher))
        self._tidy()

    def feed(self, sample: Sample) -> None:
        """Tell a sample to those that want its topic."""
        topic = _TOPICS[type(sample)]
        for watcher in tuple(self._watchers):
            if topic in watcher.topics:
                watcher.sample(sample)

    def interrupted(self, error: StreaminferError) -> None:
        """See to another connection, if anybody watches: this one was lost."""
        self._topics = []
        for watcher in tuple(self._watchers):
            watcher.interrupted(error)
        if self._watchers and (self._restoring is None or self._restoring.done()):
            self._restoring = asyncio.create_task(self._restore())

    def lose(self, error: StreaminferError) -> None:
        """Tell all watchers that nothing more will come."""
        self._topics = []
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.lost(error)

    def close(self) -> None:
        """Look for no connection any longer."""
        for task in (self._restoring, *self._tidying):
            if task is not None:
                task.cancel()

    async def _ask(self, told: Sequence[Watcher]) -> None:
        """Ask for what all watchers want together, and for the past that ``told`` want to be told of."""
        socket = await self._connect()
        id = f"watch-{next(self._ids)}"
        topics = _union([*self._watchers, *told])
        request, text = checked(Watch(id, topics, max((each.history_s for each in told), default=0.0)))
        self._asked[id] = list(told)
        self._topics = request.topics
        try:
            await self._send(socket, id, text)
        finally:
            self._asked.pop(id, None)

    def _tidy(self) -> None:
        """Have the server send no more than is wanted."""
        wanted = _union(self._watchers)
        if self._topics and wanted != self._topics and not self._asked:
            self._topics = wanted
            task = asyncio.create_task(self._narrow())
            self._tidying.add(task)
            task.add_done_callback(self._tidied)

    async def _narrow(self) -> None:
        if self._watchers:
            await self._ask([])
        else:
            request, text = checked(Unwatch(f"watch-{next(self._ids)}"))
            await self._send(await self._connect(), request.id, text)

    def _tidied(self, task: asyncio.Task[None]) -> None:
        self._tidying.discard(task)
        if not task.cancelled():
            # Read, so that asyncio does not report it: a connection that is lost sends nothing more anyway.
            task.exception()

    async def _restore(self) -> None:
        """Connect again and watch on, for as long as anybody wants to."""
        for failures in itertools.count():
            await asyncio.sleep(backoff_s(failures))
            if not self._watchers:
                return
            connected = False
            try:
                await self._connect()
                connected = True
                await self._ask(self._watchers)
                if self._topics:
                    return
                # The answer came, and was the last thing that did.
            except StreaminferError as error:
                # Until it answers again, what answers in its place may be a proxy that knows of no server.
                if isinstance(error, NotAuthorizedError) or (connected and not error.info.retryable):
                    self.lose(error)
                    return
                _log.info("Not watching %s again yet (%d): %s", self._url, failures + 1, error)


def _union(watchers: Sequence[Watcher]) -> list[Topic]:
    return sorted({topic for watcher in watchers for topic in watcher.topics})


def _cut(watching: Watching, watcher: Watcher) -> Watching:
    """The answer as if that watcher alone had asked."""
    count = round(watcher.history_s / watching.interval_s) if "metrics" in watcher.topics else 0
    return Watching(watching.id, watching.interval_s, watching.history[-count:] if count else [])
