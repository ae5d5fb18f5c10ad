"""The past that an engine in this process tells, which it reads from text while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jupyter_streaminfer.client import embedded
from jupyter_streaminfer.client.embedded import EmbeddedTransport
from jupyter_streaminfer.engine import Engine, EngineConfig
from jupyter_streaminfer.protocol import Metrics, MetricsSample, Sample, StreaminferError, Topic, Watching

SAMPLES = 10


class Told:
    """A watcher, and the moments that it was told of."""

    def __init__(self) -> None:
        self.topics: tuple[Topic, ...] = ("metrics",)
        self.history_s = 600.0
        self.moments: list[float] = []
        self.pasts = 0

    def watching(self, watching: Watching) -> None:
        assert not self.moments
        self.pasts += 1
        self.moments += [each.at for each in watching.history]

    def sample(self, sample: Sample) -> None:
        assert isinstance(sample, MetricsSample)
        assert self.pasts
        self.moments.append(sample.metrics.at)

    def interrupted(self, error: StreaminferError) -> None:
        raise AssertionError(error)

    lost = interrupted


@pytest.fixture
async def engine(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """One that takes a sample when it is told to, and has taken some."""
    monkeypatch.setattr(embedded, "SAMPLES_AT_ONCE", 1)
    engine = Engine(EngineConfig(store_dir=str(tmp_path)))
    engine._sampler._schedule = lambda: None  # type: ignore[method-assign]
    for _ in range(SAMPLES):
        engine._sampler._take()
    yield engine
    await engine.close()


async def test_no_sample_is_lost_or_told_twice_while_the_past_is_read(engine: Engine) -> None:
    """Others have their turns meanwhile, the sampler too."""
    transport, told = EmbeddedTransport(engine), Told()
    watching = asyncio.create_task(transport.watch(told))
    for _ in range(3):
        await asyncio.sleep(0)
        engine._sampler._take()
    assert not told.pasts
    await watching
    engine._sampler._take()
    past = engine.history(600)
    assert all(isinstance(each, Metrics) for each in past)
    assert told.moments == [each.at for each in past]
    assert len(told.moments) == SAMPLES + 4
    assert await transport.history(2) == past[-2:]
    await transport.unwatch(told)
    assert engine.metrics().watchers == 0


@pytest.mark.parametrize("how", ["unwatched", "cancelled"])
async def test_who_is_gone_before_the_past_was_read_is_told_nothing(engine: Engine, how: str) -> None:
    transport, told = EmbeddedTransport(engine), Told()
    watching = asyncio.create_task(transport.watch(told))
    await asyncio.sleep(0)
    assert engine.metrics().watchers == 1
    if how == "cancelled":
        watching.cancel()
    else:
        await transport.unwatch(told)
    await asyncio.wait([watching])
    engine._sampler._take()
    assert (told.pasts, told.moments, engine.metrics().watchers) == (0, [], 0)
