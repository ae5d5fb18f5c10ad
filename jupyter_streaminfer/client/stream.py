"""A stream, as whoever asked for it reads it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from jupyter_streaminfer.client.interrupt import on_interrupt
from jupyter_streaminfer.client.loop import INTERRUPTIBLE_S
from jupyter_streaminfer.client.timings import StreamTimings
from jupyter_streaminfer.protocol import (
    Attached,
    Cancelled,
    Completed,
    Delta,
    Event,
    Failed,
    Generate,
    StreaminferError,
    TokenLogprobs,
    Usage,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from jupyter_streaminfer.client.client import Client

SHOWN = 60
"""Characters of text that the short form shows."""

_log = logging.getLogger(__name__)


class ClientStream:
    """What a model generates, as it comes and for as long as you keep it.

    ``for`` and ``async for`` yield `Delta` (``text``, ``token_ids``, ``at_ms``) from the start, any number of times
    and from any thread. Interrupting a reader cancels the stream. Everything else can be looked at at any time.
    """

    def __init__(self, client: Client, request: Generate | None) -> None:
        self.request = request
        """What was asked for; None for a stream that was attached to."""
        self.id = ""
        self.epoch = ""
        self._client = client
        self._changed = threading.Condition()
        self._deltas: list[Delta] = []
        self._terminal: Completed | Cancelled | Failed | None = None
        self._loss: StreaminferError | None = None
        self._listeners: list[Callable[[ClientStream], object]] = []

    # What the transport tells, on the I/O thread.

    def attached(self, attached: Attached) -> None:
        """See `Sink.attached`."""
        self.id, self.epoch = attached.stream, attached.epoch
        self._client._adopt(self)

    def events(self, events: list[Event]) -> None:
        """See `Sink.events`."""
        with self._changed:
            for event in events:
                if isinstance(event, Delta):
                    self._deltas.append(event)
                else:
                    self._terminal = event
            self._changed.notify_all()
        self._tell()

    def lost(self, error: StreaminferError) -> None:
        """See `Sink.lost`."""
        with self._changed:
            self._loss = error
            self._changed.notify_all()
        self._tell()

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

    def __iter__(self) -> Iterator[Delta]:
        with on_interrupt(self._cancel_soon):
            position = 0
            while True:
                with self._changed:
                    while position >= len(self._deltas) and not self.done:
                        self._changed.wait(INTERRUPTIBLE_S)
                    if position >= len(self._deltas):
                        break
                    delta = self._deltas[position]
                position += 1
                yield delta
        self._raise()

    async def __aiter__(self) -> AsyncIterator[Delta]:
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
                    while position < len(self._deltas):
                        position += 1
                        yield self._deltas[position - 1]
                    if done:
                        break
                    await wake.wait()
        finally:
            remove()
        self._raise()

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
        """The same request again: a new stream. With a seed, or greedy, it brings the same."""
        if self.request is None:
            raise StreaminferError(
                "invalid_request", "What was asked for is known only where the stream was started. Use client.generate."
            )
        return self._client._start([self.request])[0]

    # What there is so far; nothing here waits.

    @property
    def text(self) -> str:
        """Everything received."""
        return "".join([delta.text for delta in self._deltas])

    @property
    def token_ids(self) -> list[int]:
        """Every token received."""
        return [token for delta in self._deltas for token in delta.token_ids]

    @property
    def at_ms(self) -> list[float]:
        """When each token was appended to the log: milliseconds since the request was accepted."""
        return [at for delta in self._deltas for at in delta.at_ms]

    @property
    def logprobs(self) -> list[TokenLogprobs]:
        """For every token received, how likely it was and what else was; empty where that was not asked for."""
        return [token for delta in self._deltas for token in delta.logprobs or ()]

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._terminal is not None or self._loss is not None

    @property
    def state(self) -> str:
        """``open``, ``completed``, ``cancelled``, ``failed``, or ``lost``: it may go on, but not to here."""
        match self._terminal:
            case Completed():
                return "completed"
            case Cancelled():
                return "cancelled"
            case Failed():
                return "failed"
        return "open" if self._loss is None else "lost"

    @property
    def finish_reason(self) -> str | None:
        """``stop`` or ``length`` once it completed."""
        return self._terminal.finish_reason if isinstance(self._terminal, Completed) else None

    @property
    def error(self) -> StreaminferError | None:
        """Why it did not end in order; a cancel by a client is no error."""
        match self._terminal:
            case Failed(error=info):
                return StreaminferError.of(info)
            case Cancelled(reason="abandoned"):
                return StreaminferError("cancelled", "The stream was cancelled: nobody read it for too long.")
            case Cancelled(reason="unload"):
                return StreaminferError("cancelled", "The stream was cancelled: its model was unloaded.")
            case Cancelled(reason="shutdown"):
                return StreaminferError("cancelled", "The stream was cancelled: the server was stopped.")
            case None:
                return self._loss
        return None

    @property
    def usage(self) -> Usage | None:
        """Tokens of prompt and answer, once it is closed."""
        return self._terminal.usage if self._terminal is not None else None

    @property
    def timings(self) -> StreamTimings | None:
        """How long it took, once it is closed."""
        if self._terminal is None:
            return None
        return StreamTimings.of(self._terminal.timings, self._terminal.usage, self.at_ms)

    def to_frame(self) -> pd.DataFrame:
        """One row per token so far: ``seq``, ``token_id``, ``text``, ``at_ms``, ``itl_ms``."""
        from jupyter_streaminfer.client.frames import to_frame

        return to_frame(list(self._deltas))

    def plot(self) -> Figure:
        """When the tokens came, and the time between them, as a matplotlib figure."""
        from jupyter_streaminfer.client.plot import plot

        return plot(self.at_ms, "stream" if self.request is None else self.request.model)

    def __repr__(self) -> str:
        text = self.text
        short = repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")
        name = "" if self.request is None else f"{self.request.model} "
        return f"<ClientStream {name}{self.state}: {short}>"

    def _ipython_display_(self) -> None:
        from jupyter_streaminfer.widgets import display_stream

        display_stream(self)
