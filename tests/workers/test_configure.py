"""Settings reach a worker's batcher wherever it computes."""

from pathlib import Path

from predicting import predict_job, rows
from worker_log import Log, Make, job

from jupyter_streaminfer.protocol import Finished, ModelSettings, Predicted

DIGITS = Path(__file__).parents[2] / "jupyter_streaminfer" / "models" / "digits"


async def test_settings_reach_the_batcher(make: Make) -> None:
    worker, log = make(DIGITS, max_wait_ms=3_600_000.0), Log()
    await worker.start(log.events, log.death)
    worker.submit(predict_job("waits an hour", [[0.0] * 64]))
    worker.configure(ModelSettings(max_wait_ms=0.0, max_batch_size=2))
    await log.until(Predicted, 1)
    worker.submit(predict_job("three", [[0.0] * 64] * 3))
    await log.until(Predicted, 2)
    assert len(rows(log.all()[-1])) == 3
    stats = worker.stats()
    assert stats is not None
    assert (stats.batcher.batches, stats.batcher.full, stats.batcher.max_batch_size) == (3, 1, 2)


async def test_a_model_without_a_batcher_goes_on(make: Make, tiny_llama: Path) -> None:
    worker, log = make(tiny_llama), Log()
    await worker.start(log.events, log.death)
    worker.configure(ModelSettings(max_wait_ms=0.0, latency_target_ms=5.0))
    worker.submit(job("after", 5))
    await log.until(Finished, 1)
    assert log.deaths == []
