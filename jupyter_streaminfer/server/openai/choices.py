"""The streams that answer one request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType

from tornado.iostream import StreamClosedError

from jupyter_streaminfer.engine import CancelReason, Cursor, Engine, Stream
from jupyter_streaminfer.protocol import Event, Generate, StreaminferError
from jupyter_streaminfer.server.writes import Writes

OnEvents = Callable[[list[tuple[int, Event]]], asyncio.Future[None] | None]
"""Told what came, each event with its choice. What it returns is done when it wants more; None: at once."""


class Choices:
    """One stream a choice: admitted together or not at all, read together, ended together.

    ``async with`` admits them, and ends on leaving those that are still open.
    """

    def __init__(self, engine: Engine, requests: list[Generate], client: str, writes: Writes) -> None:
        """``writes`` is shared by all connections."""
        self._engine = engine
        self._writes = writes
        self._admissions = [asyncio.create_task(engine.generate(request, client)) for request in requests]
        self._cursors: list[Cursor] = []
        self._ready: dict[int, None] = {}
        """The choices that have something to take, in the order in which it came."""
        self._due = True
        """Whether `_take` is on its way already: with the next turn of the loop, or when more is wanted."""
        self._on_events: OnEvents = lambda events: None
        self._taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when everything was taken."""
        self._cancelled = False

    async def __aenter__(self) -> Choices:
        try:
            streams = await asyncio.gather(*self._admissions)
        except BaseException as error:
            abandoned = self._cancelled and isinstance(error, asyncio.CancelledError)
            self.cancel()
            if abandoned:
                raise StreaminferError("cancelled", "The client left before its request was admitted.") from None
            raise
        for index, stream in enumerate(streams):
            self._cursors.append(stream.cursor(notify=partial(self._mark, index)))
            self._ready[index] = None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel("abandoned" if isinstance(error, StreamClosedError) else "client")
        for cursor in self._cursors:
            cursor.close()

    @property
    def streams(self) -> list[Stream]:
        return [cursor.stream for cursor in self._cursors]

    async def read(self, on_events: OnEvents) -> None:
        """Have it told what comes, up to the last choice's end; what it raises ends the reading and is raised here.

        It is called with a turn of the loop for all that the one before brought: a token wakes no task. Who wants more
        late gets the deltas that it missed as one.
        """
        self._on_events = on_events
        self._due = False
        self._wake()
        await self._taken

    def cancel(self, reason: CancelReason = "client") -> None:
        """End every choice that is still open, and those that are not admitted yet."""
        self._cancelled = True
        for admission in self._admissions:
            if not admission.done():
                admission.cancel()
            elif not admission.cancelled() and admission.exception() is None:
                stream = admission.result()
                if not stream.closed:
                    self._engine.cancel(stream.id, reason)

    def _mark(self, index: int) -> None:
        self._ready[index] = None
        self._wake()

    def _wake(self) -> None:
        if not self._due:
            self._due = True
            self._writes.add(self._take)

    def _take(self) -> None:
        self._due = False
        if self._taken.done():
            return
        ready, self._ready = self._ready, {}
        try:
            full = self._on_events([(index, event) for index in ready for event in self._cursors[index].take()])
        except Exception as error:
            self._taken.set_exception(error)
            return
        if all(cursor.done for cursor in self._cursors):
            self._taken.set_result(None)
        elif full is not None:
            self._due = True
            full.add_done_callback(self._go_on)

    def _go_on(self, full: asyncio.Future[None]) -> None:
        if not (full.cancelled() or full.exception() is not None):
            self._take()
        elif not self._taken.done():
            self._taken.set_exception(StreamClosedError())
