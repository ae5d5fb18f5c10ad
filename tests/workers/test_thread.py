"""The thread placement alone: the loop's priority, and an end that leaves nothing behind."""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from worker_log import NAME, Log, job

from jupyter_streaminfer.inference.faults import HungError
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.protocol import Finished, JobEvent, StreaminferError, Tokens
from jupyter_streaminfer.workers import ModelSpec, ThreadWorker
from jupyter_streaminfer.workers.thread import _loss


@pytest.fixture
async def worker(tiny_llama: Path) -> AsyncIterator[tuple[ThreadWorker, Log]]:
    worker, log = ThreadWorker(ModelSpec(NAME, "1", tiny_llama)), Log()
    await worker.start(log.events, log.death)
    yield worker, log
    await worker.stop()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"streaminfer-{NAME}"]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
async def test_the_computing_thread_has_the_loops_priority(worker) -> None:
    """It had a lower one. Beside kernels that use every core it then seldom ran, and held the interpreter meanwhile.

    The loop waited for it up to 4 s while a model was loaded, and 44 ms while streams ran; 0.5 s and 12 ms since.
    """
    (thread,) = threads()
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == own


async def test_stopping_leaves_no_thread(tiny_llama: Path) -> None:
    worker, log = ThreadWorker(ModelSpec(NAME, "1", tiny_llama)), Log()
    await worker.start(log.events, log.death)
    (thread,) = threads()
    worker.submit(job("j", 200))
    await asyncio.wait_for(worker.stop(), 30)
    thread.join(10)
    assert not thread.is_alive()
    assert log.deaths == []


async def test_the_collector_does_not_look_through_what_a_model_brought(tiny_llama: Path) -> None:
    """It did, and under load a request to the server took 0.2 s now and then, where 8 ms was the worst before."""
    worker, log = ThreadWorker(ModelSpec(NAME, "1", tiny_llama)), Log()
    before = gc.get_freeze_count()
    await worker.start(log.events, log.death)
    assert gc.get_freeze_count() > before + 100_000
    await asyncio.wait_for(worker.stop(), 30)
    assert gc.get_freeze_count() == 0


async def test_a_load_that_fails_leaves_no_thread(tmp_path: Path) -> None:
    log = Log()
    with pytest.raises(StreaminferError):
        await ThreadWorker(ModelSpec(NAME, "1", tmp_path)).start(log.events, log.death)
    for thread in threads():
        thread.join(10)
    assert threads() == []


async def test_a_thread_that_breaks_says_what_it_had_and_can_be_stopped(
    worker: tuple[ThreadWorker, Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that no single job can be blamed for: another thread could go on."""
    thread, log = worker
    thread.submit(job("j", 200))
    await log.until(Tokens, 3)

    def broken(self: Generator) -> list[JobEvent]:
        raise RuntimeError("the floor is lava")

    monkeypatch.setattr(Generator, "step", broken)
    reason = await log.until_death()
    assert "RuntimeError: the floor is lava" in str(reason)
    assert reason.restartable
    told = log.tokens("j")
    await asyncio.wait_for(thread.stop(), 10)
    assert (len(log.deaths), thread.stats()) == (1, None)
    monkeypatch.undo()
    another, log = ThreadWorker(ModelSpec(NAME, "1", thread._spec.path)), Log()
    await another.start(log.events, log.death)
    another.submit(job("j", 200))
    await log.until(Finished, 1)
    assert log.tokens("j")[: len(told)] == told
    await another.stop()


def test_threads_that_hang_are_a_loss_that_another_thread_would_not_mend() -> None:
    loss = _loss(HungError("33 of its generators were cancelled and come to no yield"))
    assert not loss.restartable
    assert "restart the server" in str(loss)
    assert _loss(RuntimeError("anything else")).restartable
