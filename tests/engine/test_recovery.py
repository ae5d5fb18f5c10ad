"""What the engine does when workers die, deadlines pass and nobody reads: with real child processes and models."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from predicting import predict, rows
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine, EngineConfig, Stream
from jupyter_streaminfer.inference.generator import Generator
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
    JobEvent,
    Notice,
    StreaminferError,
)

TIMEOUT_S = 60
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def engine(long_llama: Path) -> AsyncIterator[Engine]:
    engine = Engine(EngineConfig(window_tokens=200))
    await engine.load("tiny", str(long_llama), placement="process")
    yield engine
    await engine.close()


def request(**changes: object) -> Generate:
    fields = {"id": "g1", "model": "tiny", "prompt": "The quick", "max_tokens": 400, "seed": 5, "ignore_eos": True}
    return Generate(**{**fields, **changes})


async def read(stream: Stream) -> list[Event]:
    async with asyncio.timeout(TIMEOUT_S), stream.cursor() as cursor:
        return [event async for event in cursor]


async def finished(stream: Stream) -> tuple[str, list[int]]:
    """Its text and tokens, put together by a reader, of whom nothing may be lost or doubled."""
    *deltas, terminal = await read(stream)
    assert isinstance(terminal, Completed), terminal
    assert [event.seq for event in deltas] == [0, *((event.last or event.seq) + 1 for event in deltas[:-1])]
    token_ids = [token for event in deltas for token in event.token_ids]
    assert "".join(event.text for event in deltas) == stream.text
    return stream.text, token_ids


async def until(stream: Stream, tokens: int) -> None:
    """Read a stream until it has so many tokens."""
    async with asyncio.timeout(TIMEOUT_S), stream.cursor() as cursor:
        count = 0
        async for event in cursor:
            count += len(event.token_ids) if isinstance(event, Delta) else 0
            if count >= tokens:
                return


def kill_worker(engine: Engine) -> None:
    pid = engine._registry.get("tiny").worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_a_killed_worker_s_streams_go_on_to_exactly_the_same_end(engine: Engine) -> None:
    requests = [
        request(id="greedy", temperature=0),
        request(id="seeded", temperature=1.0, presence_penalty=0.5),
        request(id="chunks", temperature=1.0, chunk_tokens=7, logprobs=1),
    ]
    expected = [await finished(await engine.generate(each)) for each in requests]
    streams = [await engine.generate(each) for each in requests]
    epochs = [stream.epoch for stream in streams]
    readers = [asyncio.create_task(finished(stream)) for stream in streams]
    for tokens in (30, 200):
        await until(streams[0], tokens)
        assert not streams[0].closed
        kill_worker(engine)
        await until(streams[0], tokens + 40)
    assert await asyncio.gather(*readers) == expected
    assert [stream.epoch for stream in streams] == epochs
    status = engine.model("tiny")
    assert (status.restarts, status.state, status.error, status.active) == (2, "ready", None, 0)
    assert engine.metrics().retries >= len(streams)


@pytest.fixture
async def in_a_thread(long_llama: Path) -> AsyncIterator[Engine]:
    engine = Engine()
    await engine.load("tiny", str(long_llama), placement="thread")
    yield engine
    await engine.close()


class Failing:
    """Has the steps of every generator raise, from a token of a stream on until it is told to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self._patches = monkeypatch
        self._error = error

    async def after(self, stream: Stream, tokens: int) -> None:
        await until(stream, tokens)

        def step(generator: Generator) -> list[JobEvent]:
            raise self._error

        self._patches.setattr(Generator, "step", step)

    def no_more(self) -> None:
        self._patches.undo()


async def test_a_thread_that_breaks_is_replaced_and_its_streams_go_on(
    in_a_thread: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await finished(await in_a_thread.generate(request()))
    failing = Failing(monkeypatch, RuntimeError("nobody's fault"))
    stream = await in_a_thread.generate(request())
    reader = asyncio.create_task(finished(stream))
    await failing.after(stream, 20)
    async with asyncio.timeout(TIMEOUT_S):
        while in_a_thread.model("tiny").state != "restarting":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert in_a_thread.health().status == "degraded"
        failing.no_more()
        assert await reader == expected
    assert in_a_thread.model("tiny").restarts == 1
    assert in_a_thread.health().status == "ok"


async def test_after_a_cuda_error_a_thread_says_what_to_do(
    in_a_thread: Engine, long_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch, RuntimeError("CUDA error: an illegal memory access was encountered"))
    stream = await in_a_thread.generate(request(max_tokens=ENDLESS))
    await failing.after(stream, 20)
    terminal = (await read(stream))[-1]
    assert isinstance(terminal, Failed)
    assert (terminal.error.code, terminal.resumable) == ("worker_lost", True)
    assert "restart the server" in terminal.error.message
    assert terminal.usage.completion_tokens >= 20
    assert in_a_thread.health().status == "degraded"
    with pytest.raises(StreaminferError) as refusal:
        await in_a_thread.generate(request())
    assert refusal.value.code == "model_not_ready"
    failing.no_more()
    assert (await in_a_thread.load("tiny", str(long_llama))).state == "ready"
    rest = await in_a_thread.continue_(Continue("c", stream.id))
    in_a_thread.cancel(rest.id)


async def test_a_question_that_lost_its_worker_is_answered_by_the_next(engine: Engine) -> None:
    await engine.load("digits", placement="process")
    alone = await engine.predict(predict("p", "digits", [[0.0] * 64]))
    asked = asyncio.create_task(engine.predict(predict("p", "digits", [[0.0] * 64] * 2000)))
    await asyncio.sleep(0)
    pid = engine._registry.get("digits").worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    answer = await asyncio.wait_for(asked, TIMEOUT_S)
    assert {each["label"] for each in rows(answer)} == {rows(alone)[0]["label"]}
    assert engine.model("digits").restarts == 1


async def test_a_model_that_is_being_restarted_says_so_and_when_to_ask_again(engine: Engine) -> None:
    stream = await engine.generate(request(max_tokens=ENDLESS))
    await until(stream, 5)
    kill_worker(engine)
    async with asyncio.timeout(TIMEOUT_S):
        while engine.model("tiny").state == "ready":  # noqa: ASYNC110 (what the loop is told of by the process' end)
            await asyncio.sleep(0.001)
    assert engine.health().status == "degraded"
    with pytest.raises(StreaminferError) as refusal:
        await engine.generate(request())
    assert refusal.value.code == "model_not_ready"
    assert refusal.value.info.retryable
    assert refusal.value.info.retry_after_ms
    engine.cancel(stream.id)


async def test_unloading_while_a_worker_is_restarted_leaves_nothing(engine: Engine) -> None:
    stream = await engine.generate(request(max_tokens=ENDLESS))
    await until(stream, 5)
    kill_worker(engine)
    async with asyncio.timeout(TIMEOUT_S):
        while engine.model("tiny").state == "ready":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await engine.unload("tiny")
    assert engine.models() == []
    assert isinstance(stream.terminal, Cancelled)


async def test_a_stream_waits_for_readers_that_do_not_read(engine: Engine) -> None:
    stream = await engine.generate(request(max_tokens=3000))
    slow = stream.cursor(notify=lambda: None)
    async with asyncio.timeout(TIMEOUT_S):
        while not stream.paused:  # noqa: ASYNC110 (to read would be to relieve it)
            await asyncio.sleep(0.01)
    other = await engine.generate(request(id="other", max_tokens=100))
    await finished(other)  # its place in the batch goes to others
    tokens = stream.status().tokens
    await finished(await engine.generate(request(id="another", max_tokens=100)))
    assert stream.status().tokens == tokens < 3000
    assert stream.status().paused
    assert engine.metrics().streams_paused == 1
    assert [notice.code for notice in slow.take_notices()] == ["slow_consumer", "paused"]
    slow.take()
    assert not stream.paused
    slow.close()
    _, token_ids = await finished(stream)
    assert len(token_ids) == 3000
    assert engine.metrics().pauses >= 1


async def test_one_reader_that_keeps_up_keeps_the_stream_going(engine: Engine) -> None:
    stream = await engine.generate(request(max_tokens=1000))
    with_nobody = stream.cursor(notify=lambda: None)
    await finished(stream)
    assert any(isinstance(notice, Notice) and notice.code == "slow_consumer" for notice in with_nobody.take_notices())
    assert engine.metrics().pauses == 0
    (delta, _) = with_nobody.take()
    assert len(delta.token_ids) == 1000


async def test_a_deadline_ends_a_stream_as_incomplete_and_another_one_continues_it(engine: Engine) -> None:
    """The stream waits for a reader that does not read until its time is over: so it ends before its end anywhere.

    It once had 60 ms for 6,000 tokens, and on a busy machine these passed before it was admitted.
    """
    whole, token_ids = await finished(await engine.generate(request(max_tokens=1000)))
    first = await engine.generate(request(max_tokens=1000, deadlines=Deadlines(total_ms=4000.0)))
    lagging = first.cursor()
    async with asyncio.timeout(TIMEOUT_S):
        while not first.closed:  # noqa: ASYNC110 (to read would be to relieve it)
            await asyncio.sleep(0.05)
    assert isinstance(first.terminal, Incomplete)
    assert first.terminal.reason == "deadline"
    assert engine.metrics().deadlines == {"total": 1}
    lagging.close()
    engine.cancel(first.id)  # changes nothing
    second = await engine.continue_(Continue("c", first.id))
    with pytest.raises(StreaminferError) as refusal:
        await engine.continue_(Continue("c", second.id))
    assert refusal.value.field == "stream"
    text, rest = await _whole_of(engine, second)
    assert first.text + text == whole
    assert list(first.log.token_ids) + rest == token_ids


async def _whole_of(engine: Engine, stream: Stream) -> tuple[str, list[int]]:
    """A stream's text and tokens, and those of what continues it as often as it takes."""
    terminal = (await read(stream))[-1]
    text, token_ids = stream.text, stream.log.token_ids.tolist()
    if isinstance(terminal, Incomplete):
        more, rest = await _whole_of(engine, await engine.continue_(Continue("c", stream.id)))
        return text + more, token_ids + rest
    assert isinstance(terminal, Completed)
    return text, token_ids


async def test_a_request_that_waits_too_long_expires_and_takes_nothing(long_llama: Path) -> None:
    engine = Engine(EngineConfig(max_batch_size=1))
    await engine.load("tiny", str(long_llama))
    first = await engine.generate(request(max_tokens=ENDLESS))
    waiting = await engine.generate(request(id="w", deadlines=Deadlines(queue_ms=50.0)))
    terminal = (await read(waiting))[-1]
    assert isinstance(terminal, Failed)
    assert (terminal.error.code, terminal.resumable, waiting.text) == ("expired", False, "")
    assert not first.closed
    assert engine.metrics().pending == 1
    await engine.close()


async def test_without_a_first_token_in_time_it_is_tried_once_more(long_llama: Path) -> None:
    engine = Engine(EngineConfig(max_batch_size=1))
    await engine.load("tiny", str(long_llama))
    await engine.generate(request(max_tokens=ENDLESS))
    waiting = await engine.generate(request(id="w", deadlines=Deadlines(first_token_ms=60.0)))
    cursor = waiting.cursor(notify=lambda: None)
    terminal = (await read(waiting))[-1]
    assert isinstance(terminal, Failed)
    assert terminal.error.code == "deadline"
    assert [notice.code for notice in cursor.take_notices()] == ["retrying"]
    assert terminal.timings.duration_ms >= 120
    await engine.close()


async def test_draining_refuses_what_is_new_and_waits_for_what_runs(long_llama: Path) -> None:
    engine = Engine()
    await engine.load("tiny", str(long_llama))
    stream = await engine.generate(request(max_tokens=500, detached=True))
    draining = asyncio.create_task(engine.drain(TIMEOUT_S))
    await asyncio.sleep(0)
    with pytest.raises(StreaminferError) as refusal:
        await engine.generate(request())
    assert refusal.value.code == "overloaded"
    assert refusal.value.info.retry_after_ms
    assert engine.health().status == "stopping"
    assert await draining
    assert isinstance(stream.terminal, Completed)
    await engine.close()


async def test_draining_gives_up_at_its_bound(long_llama: Path) -> None:
    engine = Engine()
    await engine.load("tiny", str(long_llama))
    stream = await engine.generate(request(max_tokens=ENDLESS, detached=True))
    assert not await engine.drain(0.05)
    await engine.close()
    assert isinstance(stream.terminal, Cancelled)
    assert stream.terminal.reason == "shutdown"
