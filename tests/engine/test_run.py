"""Runs: what a callable yields, through the engine and a real worker, whatever becomes of either."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from yielding_models import FACTORIES

from jupyter_streaminfer.engine import Engine, EngineConfig, Stream
from jupyter_streaminfer.protocol import (
    Cancelled,
    Completed,
    Continue,
    Deadlines,
    Delta,
    Event,
    Failed,
    Generate,
    Incomplete,
    Partial,
    Run,
    StreaminferError,
)

TIMEOUT_S = 60
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(EngineConfig(allowed_factories=(FACTORIES,), window_tokens=64))
    yield engine
    await engine.close()


@pytest.fixture
async def small() -> AsyncIterator[Engine]:
    """An engine whose logs are short."""
    engine = Engine(EngineConfig(allowed_factories=(FACTORIES,), max_stream_bytes=100_000))
    yield engine
    await engine.close()


async def load(engine: Engine, *names: str, placement: str = "thread") -> None:
    for name in names:
        await engine.load(name, f"yielding_models:{name}", placement=placement)


def request(model: str, inputs: Any = None, **fields: Any) -> Run:
    return Run("r1", model, msgspec.Raw(msgspec.json.encode(inputs)), **fields)


async def read(stream: Stream) -> list[Event]:
    async with asyncio.timeout(TIMEOUT_S), stream.cursor() as cursor:
        return [event async for event in cursor]


async def until(stream: Stream, entries: int) -> None:
    """Read a stream until it has so much."""
    async with asyncio.timeout(TIMEOUT_S), stream.cursor() as cursor:
        async for _ in cursor:
            if stream.deltas >= entries:
                return


async def eventually(path: Path, text: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not (path.exists() and path.read_text().startswith(text)):  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(0.005)


def values(events: list[Event]) -> list[Any]:
    return [msgspec.json.decode(event.value) for event in events if isinstance(event, Partial)]


@pytest.mark.parametrize("placement", ["thread", "process"])
async def test_texts_and_values_come_in_order_and_are_merged_only_between_values(
    engine: Engine, placement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    await load(engine, "story", placement=placement)
    told = ["Once ", "upon ", {"progress": 0.5}, "a time", [1, 2], None, 3.5, ""]
    stream = await engine.run(request("story", told))
    await read(stream)
    [first, half, second, *rest, nothing, end] = stream.cursor().take()
    assert isinstance(first, Delta)
    assert (first.text, first.seq, first.last, first.token_ids, len(first.at_ms)) == ("Once upon ", 0, 1, [], 2)
    assert isinstance(half, Partial)
    assert (half.seq, bytes(half.value)) == (2, b'{"progress":0.5}')
    assert isinstance(second, Delta)
    assert (second.text, second.seq, second.last) == ("a time", 3, None)
    assert values(rest) == [[1, 2], None, 3.5]
    assert isinstance(nothing, Delta)
    assert isinstance(end, Completed)
    assert (end.seq, end.finish_reason, end.usage.completion_tokens) == (8, "stop", 8)
    assert end.timings.ttft_ms == first.at_ms[0]
    status = stream.status()
    assert (status.model, status.version, status.state, status.tokens) == ("story", "1", "completed", 8)
    assert stream.text == "Once upon a time"
    assert engine.model("story").info.task == "stream"


async def test_what_is_asked_of_the_wrong_kind_of_model_is_refused(engine: Engine, tiny_llama: Path) -> None:
    await load(engine, "story")
    await engine.load("tiny", str(tiny_llama))
    with pytest.raises(StreaminferError) as refused:
        await engine.generate(Generate("g", "story", prompt="x"))
    assert (refused.value.code, refused.value.field) == ("invalid_request", "model")
    with pytest.raises(StreaminferError) as refused:
        await engine.run(request("tiny", []))
    assert (refused.value.code, refused.value.field) == ("invalid_request", "model")
    for bad in (Run("r", "story", msgspec.Raw(b"{")), request("story", [], deadlines=Deadlines(queue_ms=float("nan")))):
        with pytest.raises(StreaminferError) as refused:
            await engine.run(bad)
        assert refused.value.code == "invalid_request"
    assert engine.streams() == []


async def test_what_it_raises_fails_its_stream_and_keeps_what_came(engine: Engine) -> None:
    await load(engine, "raiser", "story")
    [value, text, end] = await read(await engine.run(request("raiser")))
    assert values([value]) == [{"loss": 1.0}]
    assert isinstance(text, Delta)
    assert text.text == "so far "
    assert isinstance(end, Failed)
    assert end.error.message == "The model raised ZeroDivisionError: nothing to divide by"
    assert not end.resumable
    assert isinstance((await read(await engine.run(request("story", ["x"]))))[-1], Completed)


async def test_cancelling_reaches_the_function(engine: Engine, tmp_path: Path) -> None:
    await load(engine, "endless")
    stream = await engine.run(request("endless", str(tmp_path / "at")))
    await until(stream, 3)
    engine.cancel(stream.id)
    assert isinstance(stream.terminal, Cancelled)
    await eventually(tmp_path / "at", "closed")
    with pytest.raises(StreaminferError) as refused:
        await engine.continue_(Continue("c", stream.id))
    assert refused.value.field == "stream"


async def test_readers_that_lag_hold_the_function_up_and_catching_up_lets_it_go_on(
    engine: Engine, tmp_path: Path
) -> None:
    await load(engine, "endless")
    at = tmp_path / "at"
    stream = await engine.run(request("endless", str(at)))
    cursor = stream.cursor()
    async with asyncio.timeout(TIMEOUT_S):
        while not stream.paused:  # noqa: ASYNC110 (the reader is what lags)
            await asyncio.sleep(0.005)
    # What was on its way when the pause was asked for comes still; then both counts stand.
    async with asyncio.timeout(TIMEOUT_S):
        before = (-1, "")
        while (now := (stream.deltas, at.read_text())) != before:
            before = now
            await asyncio.sleep(0.2)
    assert stream.deltas >= 64
    events = cursor.take()
    assert not stream.paused
    assert [value["value"] for value in values(events)] == list(range(len(events)))
    count = stream.deltas
    async with asyncio.timeout(TIMEOUT_S):
        while stream.deltas <= count:
            cursor.take()
            await asyncio.sleep(0.005)
    engine.cancel(stream.id)


async def test_it_waits_for_who_left_until_somebody_reads_on(engine: Engine) -> None:
    """Whoever comes back within the grace period finds the log where it was."""
    await load(engine, "endless")
    stream = await engine.run(request("endless"))
    async with asyncio.timeout(TIMEOUT_S):
        while not stream.paused:  # noqa: ASYNC110 (nobody reads it yet)
            await asyncio.sleep(0.005)
        cursor = stream.cursor()
        first = cursor.take()
        assert not stream.paused
        cursor.close()
        while not stream.paused:  # noqa: ASYNC110 (nor now)
            await asyncio.sleep(0.005)
    again = stream.cursor(first[-1].seq)
    assert values(again.take())[0]["value"] == len(first)
    assert not stream.paused
    engine.cancel(stream.id)


async def test_a_long_value_counts_for_more(engine: Engine) -> None:
    """Two values of 40 KiB are beyond a window of 64 tokens, as a KiB counts like one."""
    await load(engine, "story")
    stream = await engine.run(request("story", [["x" * 40 * 2**10]] * 2))
    cursor = stream.cursor()
    await read(stream)
    assert cursor.lag == 2 * (1 + 40)
    cursor.take()
    assert cursor.lag == 0


async def test_a_log_that_grows_forgets_its_oldest_values_and_counts_them(small: Engine) -> None:
    await load(small, "story")
    told = [["x" * 1000, index] if index % 3 else f"{index} " for index in range(400)]
    stream = await small.run(request("story", told, detached=True))
    await read_to_the_end(stream)
    assert 0 < stream.log.nbytes <= 110_000
    with pytest.raises(StreaminferError, match="is kept from event"):
        stream.cursor(-1)
    cursor = stream.cursor(-1, snapshot=True)
    snapshot = cursor.attached("a").snapshot
    assert snapshot is not None
    before, after = told[: stream.floor], told[stream.floor :]
    assert (snapshot.tokens, snapshot.values) == (len(before), sum(isinstance(each, list) for each in before))
    assert snapshot.text == "".join(each for each in before if isinstance(each, str))
    events = cursor.take()
    assert values(events) == [each for each in after if isinstance(each, list)]
    assert stream.text == "".join(each for each in told if isinstance(each, str))


async def read_to_the_end(stream: Stream) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not stream.closed:  # noqa: ASYNC110 (without a reader, who might lag too far)
            await asyncio.sleep(0.005)


async def test_more_text_than_is_kept_ends_it(small: Engine) -> None:
    await load(small, "chatter")
    stream = await small.run(request("chatter", 5000, detached=True))
    await read_to_the_end(stream)
    assert isinstance(stream.terminal, Failed)
    assert stream.terminal.error.code == "too_large"
    assert stream.log.nbytes <= 2 * 100_000


async def test_deadlines(engine: Engine) -> None:
    await load(engine, "silent", "endless")
    none = await engine.run(request("silent", [], deadlines=Deadlines(first_token_ms=50)))
    [end] = await read(none)
    assert isinstance(end, Failed)
    assert (end.error.code, end.error.message.startswith("No value came in time")) == ("deadline", True)
    one = await engine.run(request("silent", [1], deadlines=Deadlines(inactivity_ms=50)))
    [_, end] = await read(one)
    assert isinstance(end, Failed)
    assert (end.error.code, end.resumable) == ("deadline", False)
    total = await engine.run(request("endless", None, deadlines=Deadlines(total_ms=100)))
    assert isinstance((await read(total))[-1], Incomplete)


async def test_nobody_left_to_read_ends_it_after_the_grace_period(tmp_path: Path) -> None:
    engine = Engine(EngineConfig(allowed_factories=(FACTORIES,), grace_s=0.05))
    try:
        await load(engine, "endless")
        stream = await engine.run(request("endless", str(tmp_path / "at")))
        detached = await engine.run(request("endless", None, detached=True))
        await eventually(tmp_path / "at", "closed")
        assert isinstance(stream.terminal, Cancelled)
        assert stream.terminal.reason == "abandoned"
        assert not detached.closed
    finally:
        await engine.close()
    assert isinstance(detached.terminal, Cancelled)
    assert detached.terminal.reason == "shutdown"


async def test_unloading_ends_it(engine: Engine, tmp_path: Path) -> None:
    await load(engine, "endless")
    stream = await engine.run(request("endless", str(tmp_path / "at")))
    await until(stream, 1)
    await engine.unload("endless")
    assert isinstance(stream.terminal, Cancelled)
    assert stream.terminal.reason == "unload"
    await eventually(tmp_path / "at", "closed")


async def test_a_worker_lost_in_the_middle_fails_what_was_told_and_begins_anew_what_was_not(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    await load(engine, "breaker", placement="process")
    once = str(tmp_path / "once")
    stream = await engine.run(request("breaker", {"after": 0, "once": once}))
    [text, end] = await read(stream)
    assert isinstance(text, Delta)
    assert text.text == "survived"
    assert isinstance(end, Completed)
    assert engine.metrics().retries == 1
    told = await engine.run(request("breaker", {"after": 2, "pause_s": 0.2}))
    [*first, end] = await read(told)
    assert values(first) == [0, 1]
    assert isinstance(end, Failed)
    assert (end.error.code, end.resumable) == ("worker_lost", False)
    assert "in the middle" in end.error.message
    assert engine.metrics().retries == 1


async def test_one_that_ends_every_worker_is_poison(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    await load(engine, "breaker", placement="process")
    stream = await engine.run(request("breaker", {"after": 0}))
    [end] = await read(stream)
    assert isinstance(end, Failed)
    assert "more than once" in end.error.message
