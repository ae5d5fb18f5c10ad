"""The streams that answer one request."""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType

from tornado.iostream import StreamClosedError

from jupyter_streaminfer.engine import CancelReason, Cursor, Engine, Stream
from jupyter_streaminfer.protocol import Event, Generate, StreaminferError


class Choices:
    """One stream a choice: admitted together or not at all, read through one waiting place, ended together.

    ``async with`` admits them, and ends on leaving those that are still open.
    """

    def __init__(self, engine: Engine, requests: list[Generate], client: str) -> None:
        self._engine = engine
        self._admissions = [asyncio.create_task(engine.generate(request, client)) for request in requests]
        self._cursors: list[Cursor] = []
        self._ready: dict[int, None] = {}
        """The choices that have something to take, in the order in which it came."""
        self._wake = asyncio.Event()
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
            self._mark(index)
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

    @property
    def done(self) -> bool:
        """Whether everything was taken."""
        return all(cursor.done for cursor in self._cursors)

    async def take(self) -> list[tuple[int, Event]]:
        """What came since, each with its choice; waits until there is something.

        A caller that comes late gets the deltas that it missed as one.
        """
        await self._wake.wait()
        self._wake.clear()
        ready, self._ready = self._ready, {}
        return [(index, event) for index in ready for event in self._cursors[index].take()]

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
        self._wake.set()
