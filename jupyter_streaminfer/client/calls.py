"""What every group of a client's calls is made of: a transport, the loop that it lives on, and patience."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from jupyter_streaminfer.client.loop import IOLoop
from jupyter_streaminfer.client.retries import Retries
from jupyter_streaminfer.client.transport import Transport

Q = TypeVar("Q")
T = TypeVar("T")


class Calls:
    """The base of `Client`'s groups of calls, each of which is a file of its own."""

    def __init__(
        self, transport: Transport, io: IOLoop, release: Callable[[], object], retries: Retries | None = None
    ) -> None:
        """``release`` ends every reading and frees ``transport`` and ``io``; called once, by `close`."""
        self._transport = transport
        self._io = io
        self._retries = retries or Retries()
        self._ids = itertools.count(1)
        self._release = release
        self._closed = False

    @property
    def url(self) -> str | None:
        """The server's base URL; None for an engine in this process."""
        return self._transport.url

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """End every reading and free the connection; an engine in this process ends with its last client."""
        if not self._closed:
            self._closed = True
            self._release()

    def _next_id(self) -> str:
        return f"r{next(self._ids)}"

    def _ask(self, ask: Callable[[Q], Awaitable[T]], request: Q) -> T:
        """Ask what may be asked twice."""
        return self._call(self._patiently(lambda: ask(request)))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The same, on the I/O loop."""
        return await self._retries.run(ask, pure=True)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
        self._check_open()
        return self._io.run(work)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("This client is closed; connect() makes a new one.")
