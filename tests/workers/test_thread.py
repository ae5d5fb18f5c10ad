"""The thread placement: one callback a step, a lower priority, and an end that leaves nothing behind."""

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.protocol import (
    Admitted,
    Failed,
    Finished,
    Generate,
    GenerateJob,
    JobEvent,
    StreaminferError,
    Tokens,
)
from jupyter_streaminfer.workers import ModelSpec, ThreadWorker

NAME = "worker-test"
"""No other test's model, so that its thread can be told from theirs."""


class Log:
    """What a worker tells, callback by callback."""

    def __init__(self) -> None:
        self.callbacks: list[list[JobEvent]] = []
        self.deaths: list[Exception] = []
        self.changed = asyncio.Event()

    def events(self, events: list[JobEvent]) -> None:
        self.callbacks.append(events)
        self.changed.set()

    def death(self, reason: Exception) -> None:
        self.deaths.append(reason)
        self.changed.set()

    async def until(self, kind: type, count: int) -> None:
        while sum(isinstance(event, kind) for events in self.callbacks for event in events) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 30)


def job(name: str, tokens: int) -> GenerateJob:
    return GenerateJob(name, Generate(name, NAME, prompt="The", max_tokens=tokens, ignore_eos=True), 0)


@pytest.fixture
async def worker(tiny_llama: Path):
    worker, log = ThreadWorker(ModelSpec(NAME, "1", tiny_llama)), Log()
    await worker.start(log.events, log.death)
    yield worker, log
    await worker.stop()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"streaminfer-{NAME}"]


async def test_a_step_of_many_sequences_is_one_callback(worker) -> None:
    thread, log = worker
    for index in range(8):
        thread.submit(job(f"j{index}", 30))
    await log.until(Finished, 8)
    steps = [[event for event in events if isinstance(event, Tokens)] for events in log.callbacks]
    for tokens in steps:
        assert len({event.job for event in tokens}) == len(tokens)
    assert sum(map(len, steps)) == 8 * 30
    assert max(map(len, steps)) == 8
    assert len(log.callbacks) <= 30 + 8 + 1


async def test_a_cancelled_job_says_nothing_more(worker) -> None:
    thread, log = worker
    thread.submit(job("doomed", 200))
    await log.until(Admitted, 1)
    thread.cancel("doomed")
    thread.cancel("nobody")
    thread.submit(job("next", 5))
    await log.until(Finished, 1)
    finished = [event.job for events in log.callbacks for event in events if isinstance(event, Finished)]
    assert finished == ["next"]
    count = sum(len(events) for events in log.callbacks)
    thread.submit(job("last", 1))
    await log.until(Finished, 2)
    later = [event.job for events in log.callbacks for event in events][count:]
    assert set(later) == {"last"}


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
async def test_the_computing_thread_yields_to_the_loop(worker) -> None:
    (thread,) = threads()
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == min(19, own + 10)


async def test_stopping_leaves_no_thread(tiny_llama: Path) -> None:
    worker, log = ThreadWorker(ModelSpec(NAME, "1", tiny_llama)), Log()
    await worker.start(log.events, log.death)
    (thread,) = threads()
    worker.submit(job("j", 200))
    await asyncio.wait_for(worker.stop(), 30)
    thread.join(10)
    assert not thread.is_alive()
    assert log.deaths == []


async def test_a_load_that_fails_leaves_no_thread(tmp_path: Path) -> None:
    log = Log()
    with pytest.raises(StreaminferError):
        await ThreadWorker(ModelSpec(NAME, "1", tmp_path)).start(log.events, log.death)
    for thread in threads():
        thread.join(10)
    assert threads() == []


async def test_a_worker_that_breaks_ends_its_streams_and_no_other_models(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that no single job can be blamed for: the streams keep what they had, and say what to do."""
    engine = Engine()
    await engine.load("breaks", str(tiny_llama))
    await engine.load("digits")
    stream = await engine.generate(Generate("g", "breaks", prompt="The", max_tokens=200, ignore_eos=True))

    def broken(self: Generator) -> list[JobEvent]:
        raise RuntimeError("the device is gone")

    async with stream.cursor() as cursor:
        events = []
        async for event in cursor:
            events.append(event)
            monkeypatch.setattr(Generator, "step", broken)
    assert isinstance(events[-1], Failed)
    assert events[-1].error.code == "worker_lost"
    assert "the device is gone" in events[-1].error.message
    assert events[-1].usage.completion_tokens >= 1
    assert engine.health().status == "degraded"
    with pytest.raises(StreaminferError) as refusal:
        await engine.generate(Generate("g2", "breaks", prompt="The"))
    assert refusal.value.code == "model_not_ready"
    monkeypatch.undo()
    assert (await engine.load("breaks", str(tiny_llama))).state == "ready"
    assert engine.health().status == "ok"
    await engine.close()
