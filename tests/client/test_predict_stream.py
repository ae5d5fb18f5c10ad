"""Predictions over many rows, against an engine in this process and against a real server."""

import asyncio
import gc
import itertools
import random
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.client import Client, RowError
from jupyter_streaminfer.client.row_source import RowSource
from jupyter_streaminfer.protocol import Predict, Prediction, Result, StreaminferError

ROWS = np.random.default_rng(0).uniform(0, 16, (300, 64)).astype(np.float32)
BAD = [1.0, 2.0]
WAIT_S = 60


class Counted:
    """An iterator that knows how many rows were taken of it."""

    def __init__(self, rows: Any = None) -> None:
        self.rows = itertools.cycle(ROWS) if rows is None else iter(rows)
        self.read = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        row = next(self.rows)
        self.read += 1
        return row


@pytest.fixture
def whole(client: Client) -> list[str]:
    return [client.predict("digits", row).labels[0] for row in ROWS[:100]]


@pytest.mark.parametrize(
    "rows",
    [
        lambda: ROWS[:100],
        lambda: list(ROWS[:100]),
        lambda: iter(ROWS[:100]),
        lambda: (row.tolist() for row in ROWS[:100]),
        lambda: pd.DataFrame(ROWS[:100], index=range(5, 105)),
        lambda: {"pixels": ROWS[:100]},
    ],
    ids=["array", "list", "iterator", "generator of lists", "frame", "columns"],
)
def test_rows_of_any_kind_in_their_order(client: Client, rows: Any, whole: list[str]) -> None:
    given = rows()
    if isinstance(given, dict):
        info = client.model("digits").info
        assert info is not None
        assert info.signature is not None
        given = {info.signature.inputs[0].name: given["pixels"]}
    stream = client.predict_stream("digits", given, batch_rows=7, window=3, progress=False)
    assert [prediction.label for prediction in stream] == whole
    assert stream.versions == {"1": 100}


def test_as_completed_each_with_its_index(client: Client, whole: list[str]) -> None:
    pairs = list(client.predict_stream("digits", iter(ROWS[:100]), batch_rows=9, in_order=False, progress=False))
    assert sorted(index for index, _ in pairs) == list(range(100))
    assert [prediction.label for _, prediction in sorted(pairs, key=lambda pair: pair[0])] == whole


async def test_an_async_for_reads_the_same(client: Client, whole: list[str]) -> None:
    async def rows() -> AsyncIterator[Any]:
        for row in ROWS[:100]:
            await asyncio.sleep(0)
            yield row

    for source in (rows(), iter(ROWS[:100])):
        stream = client.predict_stream("digits", source, batch_rows=16, progress=False)
        assert [prediction.label async for prediction in stream] == whole
    pairs = [pair async for pair in client.predict_stream("digits", rows(), in_order=False, progress=False)]
    assert sorted(index for index, _ in pairs) == list(range(100))


def test_it_is_read_no_further_than_needed(client: Client) -> None:
    rows = Counted()
    stream = iter(client.predict_stream("digits", rows, batch_rows=8, window=4, progress=False))
    for taken in range(1, 200):
        next(stream)
        assert rows.read - taken < (4 + 1) * 8


def test_nothing_is_kept_of_a_long_one(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the rows take no more memory."""

    async def predict(request: Predict) -> Result:
        prediction = b'{"label":"1","confidence":1.0,"scores":[]},'
        rows = bytes(request.inputs).count(b"[") - 1
        return Result(request.id, "digits", "1", _raw(b"[" + (prediction * rows)[:-1] + b"]"))

    monkeypatch.setattr(client._transport, "predict", predict)

    def peak(rows: int) -> int:
        gc.collect()
        tracemalloc.start()
        answered = client.predict_stream("digits", ([float(i)] for i in range(rows)), progress=False)
        assert sum(1 for _ in answered) == rows
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1000)
    assert peak(20_000) < 1.5 * peak(2_000) + 2**18


def _raw(text: bytes) -> Any:
    import msgspec

    return msgspec.Raw(text)


@pytest.mark.parametrize("bad", [0, 5, 30, 63, 64, 99])
def test_a_bad_row_fails_alone(client: Client, bad: int, whole: list[str]) -> None:
    rows: list[Any] = [row.tolist() for row in ROWS[:100]]
    rows[bad] = BAD
    answers = list(client.predict_stream("digits", iter(rows), errors="yield", progress=False))
    error = answers[bad]
    assert isinstance(error, RowError)
    assert error.row == bad
    assert error.code == "invalid_request"
    assert f"row {bad} " in str(error)
    labels = [answer.label for answer in answers if isinstance(answer, Prediction)]
    assert labels == whole[:bad] + whole[bad + 1 :]


def test_a_bad_row_is_raised_at_its_place(client: Client) -> None:
    rows: list[Any] = [row.tolist() for row in ROWS[:100]]
    rows[42] = rows[70] = BAD
    seen: list[Any] = []
    with pytest.raises(RowError) as raised:
        seen.extend(client.predict_stream("digits", rows, progress=False))
    assert (raised.value.row, len(seen)) == (42, 42)


@given(st.sets(st.integers(0, 40)), st.integers(1, 41))
def test_all_bad_rows_and_no_other_are_told(embedded_client: Client, bad: set[int], batch_rows: int) -> None:
    rows: list[Any] = [BAD if index in bad else ROWS[index].tolist() for index in range(41)]
    answers = list(
        embedded_client.predict_stream("digits", rows, batch_rows=batch_rows, errors="yield", progress=False)
    )
    assert {index for index, answer in enumerate(answers) if isinstance(answer, RowError)} == bad
    assert len(answers) == 41


def test_what_is_no_rows_fault_ends_it(client: Client) -> None:
    with pytest.raises(StreaminferError) as raised:
        list(client.predict_stream("nope", iter(ROWS), errors="yield", progress=False))
    assert raised.value.code == "model_not_found"
    assert not isinstance(raised.value, RowError)


def test_a_row_iterator_that_raises_is_heard(client: Client) -> None:
    def rows() -> Iterator[Any]:
        yield from ROWS[:10]
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        list(client.predict_stream("digits", rows(), batch_rows=4, progress=False))


def test_leaving_early_cancels_what_is_under_way(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer waits for another request: where it came before one, there was nothing to cancel, nor an end.

    One that was cancelled before it began has no end to wait for: requests count from where they begin. Which is asked
    first is not said, so answers are taken in any order.
    """
    predict, asked = client._transport.predict, itertools.count()
    another, begun, cancelled = asyncio.Event(), list[str](), threading.Semaphore(0)

    async def stuck(request: Predict) -> Result:
        if next(asked) == 0:
            await another.wait()
            return await predict(request)
        begun.append(request.id)
        another.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.release()
            raise
        raise AssertionError

    monkeypatch.setattr(client._transport, "predict", stuck)
    rows = Counted()
    for _ in client.predict_stream("digits", rows, batch_rows=4, window=5, in_order=False, progress=False):
        if rows.read > 4:
            break
    client.models()  # its turn on the client's loop comes behind all that began before
    assert begun
    assert all(cancelled.acquire(timeout=WAIT_S) for _ in begun)


def test_a_closed_one_reads_no_further(client: Client) -> None:
    rows = Counted()
    with client.predict_stream("digits", rows, batch_rows=8, window=2, progress=False) as stream:
        answers = iter(stream)
        next(answers)
        stream.close()
        read = rows.read
        assert len(list(answers)) == 7
        assert rows.read == read


def test_what_is_refused_for_the_moment_is_asked_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    predict, draw = client._transport.predict, random.Random(3)

    async def busy(request: Predict) -> Result:
        if draw.random() < 0.3:
            raise StreaminferError("overloaded", "Later.", retryable=True, retry_after_ms=1.0)
        return await predict(request)

    monkeypatch.setattr(client._transport, "predict", busy)
    assert len(list(client.predict_stream("digits", ROWS[:64], batch_rows=8, progress=False))) == 64


def test_answers_are_read_once(client: Client) -> None:
    stream = client.predict_stream("digits", ROWS[:4], progress=False)
    assert len(list(stream)) == 4
    with pytest.raises(RuntimeError, match="read already"):
        iter(stream)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"batch_rows": 0}, "batch_rows"),
        ({"batch_rows": 10**6}, "batch_rows"),
        ({"window": 0}, "window"),
        ({"window": 1.5}, "window"),
        ({"errors": "ignore"}, "errors"),
    ],
)
def test_options_that_cannot_be(client: Client, options: dict[str, Any], field: str) -> None:
    with pytest.raises(StreaminferError) as raised:
        client.predict_stream("digits", ROWS, **options)
    assert raised.value.field == field


@pytest.mark.parametrize("rows", [3, "text", {"a": [1, 2], "b": [1]}])
def test_what_is_no_rows(client: Client, rows: Any) -> None:
    with pytest.raises(StreaminferError) as raised:
        client.predict_stream("digits", rows)
    assert raised.value.field == "rows"


def test_no_rows_are_no_answers(client: Client) -> None:
    assert list(client.predict_stream("digits", [])) == []
    assert list(client.predict_stream("digits", iter([]))) == []
    assert list(client.predict_stream("digits", np.zeros((0, 64)))) == []


@given(st.integers(0, 50), st.integers(1, 60), st.booleans())
def test_chunks_are_the_rows(count: int, size: int, lazily: bool) -> None:
    rows = list(range(count))
    source = RowSource(iter(rows) if lazily else rows, size)
    chunks = list(source.chunks())
    assert [row for chunk in chunks for row in chunk.inputs] == rows
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert source.total == (None if lazily else count)
    for chunk in chunks:
        half = len(chunk) // 2
        assert [*chunk.cut(0, half).inputs, *chunk.cut(half, len(chunk)).inputs] == list(chunk.inputs)
