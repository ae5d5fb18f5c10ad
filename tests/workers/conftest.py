"""Workers of every placement, stopped after each test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from worker_log import NAME, Make

from jupyter_streaminfer.workers import ModelBounds, ModelSpec, ProcessWorker, ThreadWorker, Worker


def thread_worker(folder: Path, **bounds: object) -> ThreadWorker:
    return ThreadWorker(ModelSpec(NAME, "1", folder, bounds=ModelBounds(**bounds)))


def process_worker(folder: Path, **bounds: object) -> ProcessWorker:
    return ProcessWorker(ModelSpec(NAME, "1", folder, bounds=ModelBounds(**bounds)))


def loopback_worker(folder: Path, **bounds: object) -> ProcessWorker:
    return ProcessWorker(ModelSpec(NAME, "1", folder, bounds=ModelBounds(**bounds)), loopback=True)


async def _stopping(make: Make) -> AsyncIterator[Make]:
    made: list[Worker] = []

    def remember(*arguments: Any, **options: Any) -> Worker:
        worker = make(*arguments, **options)
        made.append(worker)
        return worker

    yield remember
    for worker in made:
        await worker.stop()


@pytest.fixture(params=[thread_worker, process_worker, loopback_worker], ids=["thread", "process", "loopback"])
async def make_any(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Workers of each placement, and of each way of talking to one."""
    async for each in _stopping(request.param):
        yield each


@pytest.fixture(params=[thread_worker, process_worker], ids=["thread", "process"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Workers of each placement."""
    async for each in _stopping(request.param):
        yield each


@pytest.fixture(params=[process_worker, loopback_worker], ids=["process", "loopback"])
async def make_child(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Worker processes, by both ways of talking to them."""
    async for each in _stopping(request.param):
        yield each


@pytest.fixture
async def make_process() -> AsyncIterator[Make]:
    """Worker processes."""
    async for each in _stopping(process_worker):
        yield each


@pytest.fixture
async def faulty() -> AsyncIterator[Make]:
    """From a fault of `faulty_child`, a folder and `ProcessWorker`'s options to a worker."""

    def faulty(fault: str, folder: Path, bounds: ModelBounds | None = None, **options: Any) -> ProcessWorker:
        worker = ProcessWorker(ModelSpec(NAME, "1", folder, bounds=bounds or ModelBounds()), **options)
        worker.program = (str(Path(__file__).with_name("faulty_child.py")), fault)  # type: ignore[misc]
        return worker

    async for each in _stopping(faulty):
        yield each
