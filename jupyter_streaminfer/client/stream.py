"""A stream, as whoever asked for it reads it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_streaminfer.client.interrupt import on_interrupt
from jupyter_streaminfer.client.loop import INTERRUPTIBLE_S
from jupyter_streaminfer.client.received import Received
from jupyter_streaminfer.protocol import (
    Attached,
    Delta,
    Event,
    Generate,
    Notice,
    Partial,
    Run,
    StreaminferError,
)

if TYPE_CHECKING:
    from jupyter_streaminfer.client.client import Client

_NOT_RESUMABLE = {
    "open": "The stream is still going on: wait for its end, or cancel it.",
    "completed": "The stream is complete; stream.retry() starts it once more.",
    "failed": "The stream cannot go on where it failed; stream.retry() starts it once more.",
    "lost": "The stream may still be going on: client.attach(stream.id) reads it.",
}
_RUN = "What a model yields cannot go on in another stream; stream.retry() starts it once more."

_log = logging.getLogger(__name__)


class ClientStream(Received):
    """What a model generates or yields, as it comes and for as long as you keep it.

    ``for`` and ``async for`` yield `Delta` (``text``, ``token_ids``, ``at_ms``), and of a run `Partial` (``value``,
    ``at_ms``) too: from the start, any number of times and from any thread. Interrupting a reader cancels the stream.
    Everything else can be looked at at any time.
    """

    def __init__(self, client: Client, request: Generate | Run | None, previous: ClientStream | None = None) -> None:
        super().__init__(request, previous)
        self._client = client
        self._changed = threading.Condition()
        self._listeners: list[Callable[[ClientStream], object]] = []

    # What the transport tells, on the I/O thread.

    def attached(self, attached: Attached) -> None:
        """See `Sink.attached`."""
        if self.id:
            self.reconnects += 1
        self.id, self.epoch = attached.stream, attached.epoch
        if attached.snapshot is not None:
            self.snapshot = attached.snapshot
        self._client._adopt(self)

    def events(self, events: list[Event]) -> None:
        """See `Sink.events`."""
        with self._changed:
            for event in events:
                if isinstance(event, Delta | Partial):
                    self._take(event)
                else:
                    self._terminal = event
            self._changed.notify_all()
        self._tell()

    def notice(self, notice: Notice) -> None:
        """See `Sink.notice`."""
        self._notices.append(notice)
        self._tell()

    def lost(self, error: StreaminferError) -> None:
        """See `Sink.lost`."""
        with self._changed:
            self._loss = error
            self._changed.notify_all()
        self._tell()

    def note_retry(self) -> None:
        """Count a further attempt to begin it."""
        self.retries += 1

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(self)
            except Exception:
                _log.exception("A listener of stream %s failed", self.id)

    def add_listener(self, callback: Callable[[ClientStream], object]) -> Callable[[], None]:
        """Call ``callback(stream)`` after each change, on the I/O thread, which it must not block.

        Returns what removes it again. Look at the stream once after adding: it may have changed before.
        """
        self._listeners.append(callback)

        def remove() -> None:
            with suppress(ValueError):
                self._listeners.remove(callback)

        return remove

    @property
    def client(self) -> Client:
        """Through which it is read."""
        return self._client

    # Reading.

    def __iter__(self) -> Iterator[Delta | Partial]:
        with on_interrupt(self._cancel_soon):
            position = 0
            while True:
                with self._changed:
                    while position >= len(self._pieces) and not self.done:
                        self._changed.wait(INTERRUPTIBLE_S)
                    if position >= len(self._pieces):
                        break
                    piece = self._pieces[position]
                position += 1
                yield piece
        self._raise()

    async def __aiter__(self) -> AsyncIterator[Delta | Partial]:
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()

        def changed(stream: ClientStream) -> None:
            # The reader's loop may be closed by now; then nobody waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(wake.set)

        remove = self.add_listener(changed)
        try:
            with on_interrupt(self._cancel_soon):
                position = 0
                while True:
                    wake.clear()
                    done = self.done
                    while position < len(self._pieces):
                        position += 1
                        yield self._pieces[position - 1]
                    if done:
                        break
                    await wake.wait()
        finally:
            remove()
        self._raise()

    def iter_values(self) -> Iterator[Any]:
        """The values that a run yields, as they come; its texts are left out."""
        for piece in self:
            if isinstance(piece, Partial):
                yield msgspec.json.decode(piece.value)

    def wait(self, timeout: float | None = None) -> ClientStream:
        """Wait for the end, at most ``timeout`` seconds, and return the stream itself.

        Raises `StreaminferError` where it failed and `TimeoutError` when it takes longer; it goes on then.
        """
        with on_interrupt(self._cancel_soon), self._changed:
            if timeout is not None:
                if not self._changed.wait_for(lambda: self.done, timeout):
                    raise TimeoutError(f"The stream did not end within {timeout:g} s; it goes on.")
            else:
                while not self.done:
                    self._changed.wait(INTERRUPTIBLE_S)
        self._raise()
        return self

    def _raise(self) -> None:
        if (error := self.error) is not None:
            raise error

    # Steering.

    def cancel(self, *, wait: bool = True) -> None:
        """End it; a closed stream stays as it is. ``wait=False`` asks for it and returns at once."""
        if wait:
            self._client.cancel(self.id)
        else:
            self._cancel_soon()

    def _cancel_soon(self) -> None:
        if not self.done:
            self._client._cancel_soon(self.id)

    def retry(self) -> ClientStream:
        """The same request again: a new stream. With a seed, or greedy, a generation brings the same."""
        if self.request is None:
            raise StreaminferError(
                "invalid_request",
                "What was asked for is known only where the stream was started. Use client.generate or client.run.",
            )
        return self._client._start([self.request])[0]

    def resume(self) -> ClientStream:
        """Go on where it stopped, if it ended without being complete: a new stream, which brings what is missing.

        That one's ``text`` is the new part, its ``full_text`` the whole, and ``previous`` this stream. With a seed,
        or greedy, the whole is what it would have been in one piece.
        """
        if not self.resumable:
            reason = _RUN if isinstance(self.request, Run) else _NOT_RESUMABLE[self.state]
            raise StreaminferError("invalid_request", reason, field="stream")
        return self._client._resume(self)

    def _ipython_display_(self) -> None:
        from jupyter_streaminfer.widgets import display_stream

        display_stream(self)
