"""The machine as it is seen from a running loop and from a script."""

import asyncio
import threading
from collections.abc import Iterator

import psutil
import pytest
from virtual_loop import run, virtual_loop

from jupyter_streaminfer.engine.pressure import Load, Pressure


def lookers() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("streaminfer-pressure")}


@pytest.fixture(autouse=True)
def others() -> Iterator[set[threading.Thread]]:
    """The threads of engines that other tests have; a test here leaves none of its own."""
    before = lookers()
    yield before
    for looker in lookers() - before:
        looker.join(10)
        assert not looker.is_alive()


def test_a_script_looks_when_it_likes(others: set[threading.Thread]) -> None:
    pressure = Pressure()
    assert pressure.last == Load()
    seen = pressure.sample()
    assert pressure.last is seen
    assert 0 < seen.memory_used < 1.5
    assert seen.memory_bytes > 0
    assert lookers() <= others


def test_the_loop_has_it_looked_at_once_a_second_and_workers_count() -> None:
    async def main() -> None:
        loop, asked, enough = virtual_loop(), [], asyncio.Event()
        parent = psutil.Process().ppid()

        def workers() -> list[int]:
            assert threading.current_thread() is threading.main_thread()
            asked.append((loop.time() - 1000, pressure.last.memory_bytes > 0))
            if len(asked) == 4:
                enough.set()
            return [parent]

        pressure = Pressure(workers)
        pressure.start()
        pressure.start()
        await enough.wait()
        assert asked == [(0, False), (1, True), (2, True), (3, True)]
        assert pressure.last.memory_bytes > psutil.Process(parent).memory_info().rss * 0.9
        pressure.stop()

    run(main())


def test_stopped_it_leaves_no_thread_no_timer_and_no_task(others: set[threading.Thread]) -> None:
    async def main() -> None:
        loop = virtual_loop()
        pressure = Pressure()
        pressure.start()
        assert len(lookers() - others) == 1
        pressure.stop()
        pressure.stop()
        before, last = loop.timers, pressure.last
        await asyncio.sleep(10)
        assert loop.timers == before + 1
        assert pressure.last is last
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_stopped_when_it_has_just_looked_it_does_not_go_on() -> None:
    async def main() -> None:
        loop = virtual_loop()
        pressure = Pressure()
        pressure.start()
        assert pressure._looking is not None
        while not pressure._looking.done():  # noqa: ASYNC110 (an event would come too late)
            await asyncio.sleep(0)
        assert pressure.last == Load()  # it is told with the loop's next round
        pressure.stop()
        before = loop.timers
        await asyncio.sleep(10)
        assert loop.timers == before + 1

    run(main())


def test_stopped_between_two_looks_it_does_not_go_on() -> None:
    async def main() -> None:
        pressure = Pressure()
        pressure.start()
        assert pressure._looking is not None
        await asyncio.wait({pressure._looking})
        pressure.stop()
        seen = pressure.last
        assert seen.memory_bytes > 0
        await asyncio.sleep(10)
        assert pressure.last is seen

    run(main())


def test_it_can_be_started_again() -> None:
    async def main() -> None:
        twice = asyncio.Event()
        pressure = Pressure()
        pressure.start()
        pressure.stop()
        calls = []

        def workers() -> list[int]:
            calls.append(1)
            if len(calls) == 2:
                twice.set()
            return []

        pressure._workers = workers
        pressure.start()
        await twice.wait()
        assert pressure.last.memory_bytes > 0
        pressure.stop()

    run(main())
