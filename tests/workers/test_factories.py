"""Factories in a process of their own: what they do wrong ends with it."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from predicting import predict_job, rows
from worker_log import NAME, Log, until

from jupyter_streaminfer.protocol import LoadProgress, Predicted, Signature, StreaminferError, TensorSpec
from jupyter_streaminfer.workers import ModelBounds, ModelSpec, ProcessWorker

MODULE = "inference.factories"


def worker_of(name: str, **options: Any) -> ProcessWorker:
    bounds = ModelBounds(allowed_factories=(f"{MODULE}:*",))
    return ProcessWorker(ModelSpec(NAME, "1", Path(f"{MODULE}:{name}"), bounds=bounds, **options))


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


async def test_signature_and_arguments_reach_the_factory() -> None:
    signature = Signature([TensorSpec("x", "float32", [16])], kind="tensors")
    worker, log = worker_of("bare", signature=signature, arguments={"seed": 3}), Log()
    try:
        info = await worker.start(log.events, log.death)
        assert info.signature == signature
        assert info.runner == f"{MODULE}:bare"
        worker.submit(predict_job("j", [[0.0] * 16]))
        await log.until(Predicted, 1)
    finally:
        await worker.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="children are counted")
@pytest.mark.parametrize("name", ["hanging", "leaking"])
async def test_a_factory_that_hangs_or_leaks_ends_with_its_process(name: str) -> None:
    before = children()
    preparing = asyncio.Event()

    def told(progress: LoadProgress) -> None:
        if progress.stage == "preparing":
            preparing.set()

    worker, log = worker_of(name), Log()
    start = asyncio.create_task(worker.start(log.events, log.death, told))
    if name == "hanging":
        await preparing.wait()
        # Beside busy kernels, a load at the priority of what computes took half a minute instead of seconds.
        (loading,) = children() - before
        assert psutil.Process(loading).nice() == psutil.Process().nice()
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    else:
        await start
        worker.submit(predict_job("j", ["a"]))
        await log.until(Predicted, 1)
        assert [rows(event) for event in log.all()] == [["A!"]]
    await worker.stop()
    await until(lambda: children() <= before)


async def test_a_factory_that_raises_is_the_starts_error() -> None:
    worker, log = worker_of("raising"), Log()
    with pytest.raises(StreaminferError, match=f"{MODULE}:raising failed: RuntimeError: no such file: weights"):
        await worker.start(log.events, log.death)
    await worker.stop()
