"""What a worker promises wherever it computes: on a thread or in a process."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from predicting import predict_job, rows
from worker_log import NAME, Log, Make, job

from jupyter_streaminfer.protocol import (
    Admitted,
    Embed,
    Embedded,
    EmbedJob,
    Finished,
    Generate,
    GenerateJob,
    Job,
    JobEvent,
    ModelStats,
    Predicted,
    Rejected,
    Started,
    StreaminferError,
    Tokens,
)
from jupyter_streaminfer.workers import ModelSpec, create
from jupyter_streaminfer.workers.loading import load
from jupyter_streaminfer.workers.progress import Progress

MODELS = Path(__file__).parents[2] / "jupyter_streaminfer" / "models"


def jobs() -> list[Job]:
    """Greedy and drawn ones, with log-probabilities and without, a long one, a refused one, a reading."""
    return [
        job("greedy", 40, temperature=0),
        job("drawn", 40, temperature=2.0, top_p=0.9, logprobs=2),
        job("stopped", 60, stop=["o"], logit_bias={5: 2.0}),
        job("chunks", 30, chunk_tokens=8),
        job("refused", 1000),
        EmbedJob("vectors", Embed("e", NAME, inputs=["The quick", [5, 6, 7]], normalize=True)),
    ]


def alone(folder: Path) -> list[JobEvent]:
    """What a runtime says of the jobs without any worker, in this thread."""
    runtime = load(ModelSpec(NAME, "1", folder), Progress(lambda progress: None))
    events = [event for each in jobs() if (event := runtime.submit(each))]
    while runtime.due_in() is not None:
        events += runtime.step()
    return events


def told(events: list[JobEvent]) -> dict[str, list[Any]]:
    """By job, without the clock's part; tokens one by one, as steps may be cut differently."""
    by_job: dict[str, list[Any]] = {}
    for event in events:
        if isinstance(event, Started):
            continue
        by_job.setdefault(event.job, []).append(event)
    return by_job


async def test_every_placement_says_the_same(make_any: Make, tiny_llama: Path) -> None:
    worker, log = make_any(tiny_llama), Log()
    info = await worker.start(log.events, log.death)
    assert (info.task, info.context_length) == ("generate", 256)
    for each in jobs():
        worker.submit(each)
    await log.until(Finished, 4)
    await log.until(Embedded, 1)
    await log.until(Rejected, 1)
    assert told(log.all()) == told(alone(tiny_llama))
    assert log.deaths == []


async def test_predictions(make: Make) -> None:
    worker, log = make(MODELS / "digits"), Log()
    info = await worker.start(log.events, log.death)
    row = [0.0] * info.input_shape[0]
    worker.submit(predict_job("good", [row, row]))
    worker.submit(predict_job("short", [[1.0]]))
    worker.submit(predict_job("huge", [[10**400] * len(row)]))
    await log.until(Predicted, 1)
    await log.until(Rejected, 2)
    assert {event.job for event in log.all() if isinstance(event, Rejected)} == {"short", "huge"}
    (predicted,) = [event for event in log.all() if isinstance(event, Predicted)]
    assert len(rows(predicted)) == 2
    assert rows(predicted)[0]["label"] in info.labels


async def test_a_step_of_many_sequences_is_one_callback(make: Make, tiny_llama: Path) -> None:
    worker, log = make(tiny_llama), Log()
    await worker.start(log.events, log.death)
    for index in range(8):
        worker.submit(job(f"j{index}", 30))
    await log.until(Finished, 8)
    steps = [[event for event in events if isinstance(event, Tokens)] for events in log.callbacks]
    for tokens in steps:
        assert len({event.job for event in tokens}) == len(tokens)
    assert sum(map(len, steps)) == 8 * 30
    assert max(map(len, steps)) == 8
    assert len(log.callbacks) <= 30 + 2 * 8 + 1


async def test_a_cancelled_job_says_nothing_more(make: Make, tiny_llama: Path) -> None:
    worker, log = make(tiny_llama), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("doomed", 200))
    await log.until(Admitted, 1)
    worker.cancel("doomed")
    worker.cancel("nobody")
    worker.submit(job("next", 5))
    await log.until(Finished, 1)
    assert [event.job for event in log.all() if isinstance(event, Finished)] == ["next"]
    count = len(log.all())
    worker.submit(job("last", 1))
    await log.until(Finished, 2)
    assert {event.job for event in log.all()[count:]} == {"last"}


async def test_a_paused_job_waits_and_goes_on_exactly(make: Make, long_llama: Path) -> None:
    worker, log = make(long_llama), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("whole", 400))
    await log.until(Finished, 1)
    worker.submit(job("paused", 400))
    await log.until(Tokens, 400 + 5)
    worker.pause("paused")
    worker.pause("nobody")
    worker.submit(job("other", 50))
    await log.until(Finished, 2)
    events = log.all()
    (admitted,) = [index for index, event in enumerate(events) if event == Admitted("other", events[0].prompt_tokens)]
    assert "paused" not in {event.job for event in events[admitted:]}
    assert 5 <= len(log.tokens("paused")) < 400
    worker.resume("nobody")
    worker.resume("paused")
    await log.until(Finished, 3)
    assert log.tokens("paused") == log.tokens("whole")


async def test_a_load_that_fails_says_why(make: Make, tmp_path: Path) -> None:
    log = Log()
    worker = make(tmp_path / "nowhere")
    with pytest.raises(StreaminferError) as refusal:
        await worker.start(log.events, log.death)
    assert refusal.value.code == "invalid_request"
    assert "nowhere is no folder" in str(refusal.value)
    await asyncio.wait_for(worker.stop(), 10)
    assert log.deaths == []


async def test_the_bounds_of_the_spec_hold(make: Make, tiny_llama: Path) -> None:
    worker, log = make(tiny_llama, max_batch_size=3, cache_bytes=2**20), Log()
    info = await worker.start(log.events, log.death)
    assert info.max_batch_size == 3
    assert info.cache_bytes <= 2**20


async def test_stats_follow_the_work(make: Make, long_llama: Path) -> None:
    worker, log = make(long_llama), Log()
    assert worker.stats() is None
    await worker.start(log.events, log.death)
    worker.submit(job("j", 16_000))
    await log.until(Tokens, 2)
    stats = worker.stats()
    assert isinstance(stats, ModelStats)
    assert stats.running == 1


async def test_a_device_that_is_lost(
    make: Make, faulty: Make, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own the next worker has a device again; on a thread only a new server has."""
    worker, log = make(tiny_llama), Log()
    if worker.placement == "process":
        worker = faulty("device", tiny_llama)
    await worker.start(log.events, log.death)
    if worker.placement == "thread":
        from jupyter_streaminfer.inference.generator import Generator

        def lost(self: Generator) -> list[JobEvent]:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        monkeypatch.setattr(Generator, "step", lost)
    worker.submit(job("j", 5))
    reason = await log.until_death()
    assert "an illegal memory access" in str(reason)
    assert reason.restartable == (worker.placement == "process")
    assert ("restart the server" in str(reason)) == (worker.placement == "thread")
    await asyncio.wait_for(worker.stop(), 10)
    assert len(log.deaths) == 1


async def test_stopping_twice_and_before_the_start(make: Make, tiny_llama: Path) -> None:
    idle = make(tiny_llama)
    await idle.stop()
    worker, log = make(tiny_llama), Log()
    await worker.start(log.events, log.death)
    worker.submit(job("j", 200))
    await asyncio.wait_for(asyncio.gather(worker.stop(), worker.stop()), 10)
    await worker.stop()
    assert log.deaths == []


@pytest.mark.parametrize("turns", [0, 1, 50])
async def test_stopping_a_start_that_was_cancelled(make_any: Make, tiny_llama: Path, turns: int) -> None:
    worker, log = make_any(tiny_llama), Log()
    start = asyncio.create_task(worker.start(log.events, log.death))
    for _ in range(turns):
        await asyncio.sleep(0.001)
    start.cancel()
    with contextlib.suppress(asyncio.CancelledError):  # it may have been quicker
        await start
    await asyncio.wait_for(worker.stop(), 30)
    assert log.deaths == []


async def test_a_job_that_is_no_message(make_process: Make, tiny_llama: Path) -> None:
    """Made in this process and never checked: refused by name, and the others go on."""
    worker, log = make_process(tiny_llama), Log()
    await worker.start(log.events, log.death)
    worker.submit(GenerateJob("unchecked", Generate("", NAME, prompt="The", max_tokens=5), 0))
    worker.submit(GenerateJob("surrogate", Generate("g", NAME, prompt="\ud800", max_tokens=5), 0))
    worker.submit(GenerateJob("long", Generate("g", NAME, prompt="x" * (65 * 2**20), max_tokens=5), 0))
    worker.submit(job("good", 3))
    await log.until(Finished, 1)
    await log.until(Rejected, 3)
    codes = {event.job: event.error.code for event in log.all() if isinstance(event, Rejected)}
    assert codes == {"unchecked": "invalid_request", "surrogate": "invalid_request", "long": "too_large"}


def test_the_spec_says_where(tmp_path: Path) -> None:
    assert create(ModelSpec(NAME, "1", tmp_path, placement="process")).placement == "process"
    assert create(ModelSpec(NAME, "1", tmp_path, placement="thread")).placement == "thread"
