"""A TCP proxy in user space that delays, throttles, stalls and cuts what goes through it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

CHUNK_BYTES = 16 * 1024


class FaultyProxy:
    """Listens on a port of its own and passes everything on to another, with faults; ``with`` runs and ends it.

    It has an event loop on a thread of its own. Its faults may be changed at any time, from any thread: the
    attributes count for what comes then, the methods for what there is.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        delay_s: float = 0.0,
        bytes_per_s: float | None = None,
        cut_every_s: float | None = None,
        cut_after_bytes: int | None = None,
    ) -> None:
        """``port``, ``host``: where to. ``cut_every_s``: every connection's age; ``cut_after_bytes``: its answers."""
        self._to = (host, port)
        self.delay_s = delay_s
        """Between what comes and its going on, either way."""
        self.bytes_per_s = bytes_per_s
        """How fast answers go at most; None: as they come."""
        self.cut_every_s = cut_every_s
        self.cut_after_bytes = cut_after_bytes
        self.refuse = False
        """Whether new connections are cut at once."""
        self.connections = 0
        """How many there were, the refused ones too."""
        self.cuts = 0
        """How many of them it cut."""
        self.port = 0
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stalled: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-proxy", daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Cut every connection."""
        self._loop.call_soon_threadsafe(self._cut_all)

    def stall(self) -> None:
        """Pass nothing more on over the connections that there are, and say nothing of it; new ones are whole."""
        self._loop.call_soon_threadsafe(self._stall_all)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        self._cut_all()
        while self._open:
            await asyncio.wait(self._open)
        await self._server.wait_closed()

    def _cut_all(self) -> None:
        for task in self._open:
            task.cancel()

    def _stall_all(self) -> None:
        self._stalled |= self._open

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections += 1
        self._open.add(task)
        writers = [writer]
        try:
            if not self.refuse:
                async with asyncio.timeout(self.cut_every_s):
                    up_reader, up_writer = await asyncio.open_connection(*self._to)
                    writers.append(up_writer)
                    await self._pass(task, reader, writer, up_reader, up_writer)
        except (asyncio.CancelledError, TimeoutError):
            # Cut: nothing is to be awaited here, the other end is to see it now.
            self.cuts += 1
        except OSError:
            # One of the two ends is gone.
            return
        finally:
            self._open.discard(task)
            self._stalled.discard(task)
            for each in writers:
                each.transport.abort()

    async def _pass(
        self,
        connection: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.create_task(self._pump(connection, reader, up_writer, answers=False)),
            asyncio.create_task(self._pump(connection, up_reader, writer, answers=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self,
        connection: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        answers: bool,
    ) -> None:
        passed = 0
        while chunk := await reader.read(CHUNK_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if connection in self._stalled:
                # For ever: until somebody cuts it.
                await asyncio.Event().wait()
            if answers and self.cut_after_bytes is not None and passed + len(chunk) > self.cut_after_bytes:
                # In the midst of a frame, most likely.
                writer.write(chunk[: max(0, self.cut_after_bytes - passed)])
                await writer.drain()
                self.cuts += 1
                return
            writer.write(chunk)
            await writer.drain()
            passed += len(chunk)
            if answers and self.bytes_per_s is not None:
                await asyncio.sleep(len(chunk) / self.bytes_per_s)
