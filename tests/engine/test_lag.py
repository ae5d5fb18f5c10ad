"""The loop's lag, on a loop whose clock the test moves."""

import asyncio

import pytest
from virtual_loop import run, virtual_loop

from jupyter_streaminfer.engine.lag import LoopLag


def test_a_loop_that_is_held_up_is_late_by_so_much() -> None:
    async def main() -> None:
        loop, lag = virtual_loop(), LoopLag()
        lag.start()
        await asyncio.sleep(1.1)
        assert lag.worst_ms == pytest.approx(0, abs=0.001)
        loop.now += 0.9  # something computes on the loop; the tick at 1.25 comes at 2.0
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert lag.worst_ms == pytest.approx(750, abs=0.001)
        lag.stop()

    run(main())


def test_the_worst_is_remembered_for_five_seconds() -> None:
    async def main() -> None:
        loop, lag = virtual_loop(), LoopLag()
        lag.start()
        loop.now += 2
        await asyncio.sleep(0.01)
        loop.now += 1
        await asyncio.sleep(4)
        assert lag.worst_ms == pytest.approx(1750, abs=0.001)
        await asyncio.sleep(2)
        assert lag.worst_ms == pytest.approx(0, abs=0.001)
        lag.stop()

    run(main())


def test_stopped_it_leaves_no_timer() -> None:
    async def main() -> None:
        loop, lag = virtual_loop(), LoopLag()
        lag.start()
        lag.start()
        await asyncio.sleep(1)
        lag.stop()
        lag.stop()
        before = loop.timers
        await asyncio.sleep(10)
        assert loop.timers == before + 1

    run(main())
