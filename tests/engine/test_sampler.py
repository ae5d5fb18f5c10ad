"""One measurement and one serialisation a second, however many watch."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import msgspec
from samples import row, sample, spread
from virtual_loop import run

from jupyter_streaminfer.engine.sampler import INTERVAL_S, Sampler, Tick
from jupyter_streaminfer.protocol import HISTORY_S, MetricsSample, ServerMessage, StreamsSample, Topic


class Measured:
    """Counts what it is asked; a sample is its number."""

    def __init__(self) -> None:
        self.samples = self.models_asked = self.streams_asked = 0
        self.sampler = Sampler(self.measure, self.models, self.streams)

    def measure(self) -> Any:
        self.samples += 1
        return self.samples

    def models(self) -> list[Any]:
        self.models_asked += 1
        return []

    def streams(self) -> StreamsSample:
        self.streams_asked += 1
        return StreamsSample([])


def test_many_watchers_cost_one_measurement_and_one_serialisation_a_tick() -> None:
    async def main() -> None:
        measured, frames = Measured(), []
        for _ in range(100):
            measured.sampler.watch(lambda tick: frames.append((tick.frame("metrics"), tick.frame("streams"))))
        measured.sampler.start()
        measured.sampler.start()
        await asyncio.sleep(3.5 * INTERVAL_S)
        measured.sampler.stop()
        assert (measured.samples, measured.streams_asked, measured.models_asked) == (3, 3, 0)
        assert len(frames) == 300
        assert len({id(metrics) for metrics, _ in frames}) == len({id(streams) for _, streams in frames}) == 3
        await asyncio.sleep(2 * INTERVAL_S)
        measured.sampler.start()
        await asyncio.sleep(2 * INTERVAL_S)
        assert measured.samples == 3, "stopped is stopped"

    run(main())


def test_a_watcher_that_fails_is_told_no_more_and_the_others_are() -> None:
    async def main() -> None:
        measured, told = Measured(), []

        def fail(tick: Tick) -> None:
            told.append("failed")
            raise RuntimeError("it is broken")

        measured.sampler.watch(fail)
        unwatch = measured.sampler.watch(lambda tick: told.append("told"))
        measured.sampler.start()
        await asyncio.sleep(2.5 * INTERVAL_S)
        assert (told, measured.sampler.watchers) == (["failed", "told", "told"], 1)
        unwatch()
        unwatch()
        await asyncio.sleep(INTERVAL_S)
        assert (len(told), measured.sampler.watchers, measured.samples) == (3, 0, 3)
        measured.sampler.stop()

    run(main())


def test_the_history_reaches_back_as_far_as_is_said() -> None:
    async def main() -> None:
        measured = Measured()
        measured.sampler.start()
        await asyncio.sleep(HISTORY_S + 10.5)
        history = measured.sampler.history
        assert [bytes(text) for text in history(3)] == [b"608", b"609", b"610"]
        assert (len(history(HISTORY_S)), len(history(10**6)), history(0)) == (600, 600, [])
        measured.sampler.stop()

    run(main())


def test_a_frame_is_what_the_protocol_says() -> None:
    measured = sample(row("tiny", itl_ms=spread(2.5), prefix_hit_rate=0.25), odd={"long": 1})
    tick = Tick(measured, list, lambda: StreamsSample([], 3))
    for topic in get_args(Topic):
        assert msgspec.json.decode(tick.frame(topic), type=ServerMessage) == tick.sample(topic)
        assert tick.frame(topic) == msgspec.json.encode(tick.sample(topic))
    assert tick.sample("metrics") == MetricsSample(measured)
    assert tick.sample("streams") == StreamsSample([], 3)
