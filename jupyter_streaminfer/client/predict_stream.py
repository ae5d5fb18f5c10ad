"""Predictions over more rows than fit into a request, or into memory."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jupyter_streaminfer.client.errors import ConnectionLostError
from jupyter_streaminfer.client.loop import INTERRUPTIBLE_S
from jupyter_streaminfer.client.progress import bar
from jupyter_streaminfer.client.row_source import Chunk, RowSource
from jupyter_streaminfer.protocol import MAX_PREDICT_ROWS, StreaminferError

if TYPE_CHECKING:
    from jupyter_streaminfer.client.predicting import PredictCalls, PredictOptions

BATCH_ROWS = 64
WINDOW = 8
MAX_WINDOW = 256
_OF_ROWS = ("invalid_request", "too_large", "internal")
"""What may be one row's fault."""


class RowError(StreaminferError):
    """What kept one row from being answered; the others are."""

    def __init__(self, row: int, error: StreaminferError) -> None:
        # Alone in its request it was row 0 there.
        said = str(error).replace("row 0 of inputs", "its inputs", 1)
        super().__init__(error.code, f"row {row} of the stream: {said}", field=error.field)
        self.row = row
        """Its index among all rows."""


class _Batch(NamedTuple):
    """What became of some rows that follow each other."""

    first: int
    outcomes: list[Any]
    versions: Counter[str]


class PredictStream:
    """Answers as they come, to be read once, in a ``for`` or an ``async for``; made by `Client.predict_stream`.

    Rows are read on the reader's own thread. ``with`` and `close` end it early.
    """

    def __init__(
        self,
        calls: PredictCalls,
        model: str,
        rows: Iterable[Any] | AsyncIterable[Any],
        options: PredictOptions,
        *,
        batch_rows: int,
        in_order: bool,
        window: int,
        errors: Literal["raise", "yield"],
        progress: bool,
    ) -> None:
        _check("batch_rows", batch_rows, MAX_PREDICT_ROWS)
        _check("window", window, MAX_WINDOW)
        if errors not in ("raise", "yield"):
            raise StreaminferError("invalid_request", f"errors: 'raise' or 'yield', found {errors!r}.", field="errors")
        self.model = model
        self.versions: Counter[str] = Counter()
        """How many rows each version has answered."""
        self._calls = calls
        self._options = options
        self._source = RowSource(rows, batch_rows)
        self._in_order = in_order
        self._window = window
        self._raises = errors == "raise"
        self._progress = progress
        self._sent = 0
        """Rows that requests were made of."""
        self._under_way: list[concurrent.futures.Future[_Batch]] = []
        self._begun = False
        self._closed = False

    def __iter__(self) -> Iterator[Any]:
        self._begin()
        # Held by the reader's loop alone, so that it ends with that.
        return self._read()

    def __aiter__(self) -> AsyncIterator[Any]:
        self._begin()
        return self._read_async()

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError("These answers were read already, and are not kept: ask with another predict_stream.")
        self._begun = True

    def _read(self) -> Iterator[Any]:
        chunks = self._source.chunks()
        with self._bar() as shown:
            try:
                while not self._closed:
                    more = True
                    # At least one request for each that is answered; more only while there is nothing to hand out.
                    while more and len(self._under_way) < self._window:
                        if more := (chunk := next(chunks, None)) is not None:
                            self._send(chunk)
                        more = more and not self._ready()
                    if not self._under_way:
                        return
                    batch = self._take(self._wait())
                    shown.update(len(batch.outcomes))
                    yield from self._told(batch)
            finally:
                self.close()

    async def _read_async(self) -> AsyncIterator[Any]:
        chunks = self._source.async_chunks()
        loop, wake = asyncio.get_running_loop(), asyncio.Event()

        def done(_: object) -> None:
            # The reader's loop may be closed by now; then nobody waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(wake.set)

        with self._bar() as shown:
            try:
                while not self._closed:
                    more = True
                    while more and len(self._under_way) < self._window:
                        if more := (chunk := await anext(chunks, None)) is not None:
                            self._send(chunk).add_done_callback(done)
                        more = more and not self._ready()
                    if not self._under_way:
                        return
                    while not self._ready():
                        wake.clear()
                        if not self._ready():
                            await wake.wait()
                    batch = self._take(next(each for each in self._awaited() if each.done()))
                    shown.update(len(batch.outcomes))
                    for outcome in self._told(batch):
                        yield outcome
            finally:
                self.close()

    def close(self) -> None:
        """Cancel what is under way; no more rows are read, and a loop ends with the answers that it has."""
        self._closed = True
        under_way, self._under_way = self._under_way, []
        for each in under_way:
            each.cancel()

    def __enter__(self) -> PredictStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PredictStream of {self.model}: {self.versions.total()} rows answered, {self._sent} sent>"

    def _bar(self) -> Any:
        return bar(self.model, self._source.total, unit="rows", shown=self._progress)

    def _send(self, chunk: Chunk) -> concurrent.futures.Future[_Batch]:
        asked = self._calls._io.begin(self._answer(chunk, self._sent))
        self._under_way.append(asked)
        self._sent += len(chunk)
        return asked

    def _awaited(self) -> list[concurrent.futures.Future[_Batch]]:
        """Those whose end is waited for: of requests in order only the first."""
        return self._under_way[:1] if self._in_order else self._under_way

    def _ready(self) -> bool:
        return any(each.done() for each in self._awaited())

    def _wait(self) -> concurrent.futures.Future[_Batch]:
        while True:
            done, _ = concurrent.futures.wait(
                self._awaited(), timeout=INTERRUPTIBLE_S, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for each in done:
                return each

    def _take(self, done: concurrent.futures.Future[_Batch]) -> _Batch:
        self._under_way.remove(done)
        try:
            batch = done.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("The client was closed during this call.") from None
        self.versions += batch.versions
        return batch

    def _told(self, batch: _Batch) -> Iterator[Any]:
        for index, outcome in enumerate(batch.outcomes, batch.first):
            if self._raises and isinstance(outcome, RowError):
                raise outcome
            yield outcome if self._in_order else (index, outcome)

    async def _answer(self, chunk: Chunk, first: int) -> _Batch:
        """Ask about rows; where that is refused, about each half of them, until the row at fault is alone."""
        rows = len(chunk)
        try:
            answer = await self._calls._predict(self.model, chunk.inputs, self._options, single=False)
        except StreaminferError as error:
            if isinstance(error, ConnectionLostError) or error.code not in _OF_ROWS or not _of_inputs(error):
                raise
            if rows == 1:
                return _Batch(first, [RowError(first, error)], Counter())
        else:
            return _Batch(first, list(answer), Counter({answer.version: rows}))
        half = rows // 2
        left = await self._answer(chunk.cut(0, half), first)
        if self._raises and isinstance(left.outcomes[-1], RowError):
            return left
        right = await self._answer(chunk.cut(half, rows), first + half)
        return _Batch(first, left.outcomes + right.outcomes, left.versions + right.versions)


def _of_inputs(error: StreaminferError) -> bool:
    return error.code == "internal" or (error.field or "inputs").startswith("inputs")


def _check(field: str, number: int, most: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
        raise StreaminferError(
            "invalid_request", f"{field}: a number from 1 to {most} is needed, found {number!r}.", field=field
        )
