"""A stream's deadlines, on a loop whose clock jumps."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_loop import run, virtual_loop

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.deadlines import DeadlineName, StreamDeadlines
from jupyter_streaminfer.protocol import Deadlines

CONFIG = EngineConfig(queue_deadline_s=10, first_token_deadline_s=20, inactivity_deadline_s=5, total_deadline_s=100)


class Passed:
    """What passed and when, in seconds from the acceptance."""

    def __init__(self) -> None:
        self.deadlines: list[tuple[float, DeadlineName]] = []
        self._start = virtual_loop().time()
        self.then: Callable[[DeadlineName], None] = lambda name: None

    def __call__(self, name: DeadlineName) -> None:
        self.deadlines.append((round(virtual_loop().time() - self._start, 6), name))
        self.then(name)


def test_each_passes_at_its_time() -> None:
    async def main() -> None:
        passed = Passed()
        deadlines = StreamDeadlines(None, CONFIG, passed)
        await asyncio.sleep(150)
        assert passed.deadlines == [(10, "queue"), (20, "first_token"), (100, "total")]
        deadlines.close()

    run(main())


def test_a_stream_that_is_on_time_meets_none_until_the_last() -> None:
    async def main() -> None:
        passed = Passed()
        deadlines = StreamDeadlines(None, CONFIG, passed)
        await asyncio.sleep(9)
        deadlines.started()
        await asyncio.sleep(10)
        for _ in range(20):
            deadlines.token()
            await asyncio.sleep(4)
        deadlines.token()
        assert passed.deadlines == []
        await asyncio.sleep(4)
        assert passed.deadlines == [(100, "total")]
        deadlines.close()

    run(main())


def test_silence_after_a_token_is_noticed_though_another_deadline_is_nearer_at_first() -> None:
    async def main() -> None:
        passed = Passed()
        deadlines = StreamDeadlines(Deadlines(first_token_ms=90_000, queue_ms=90_000), CONFIG, passed)
        await asyncio.sleep(1)
        deadlines.token()
        await asyncio.sleep(3)
        deadlines.token()
        await asyncio.sleep(80)
        assert passed.deadlines == [(9, "inactivity")]
        deadlines.close()

    run(main())


def test_the_second_try_has_as_long_again() -> None:
    async def main() -> None:
        passed = Passed()
        deadlines = StreamDeadlines(Deadlines(first_token_ms=2000), CONFIG, passed)
        passed.then = lambda name: deadlines.restart_first_token() if len(passed.deadlines) == 1 else deadlines.close()
        deadlines.started()
        await asyncio.sleep(50)
        assert passed.deadlines == [(2, "first_token"), (4, "first_token")]

    run(main())


def test_a_second_try_after_the_first_token_changes_nothing() -> None:
    async def main() -> None:
        passed = Passed()
        deadlines = StreamDeadlines(None, CONFIG, passed)
        deadlines.token()
        deadlines.restart_first_token()
        for _ in range(9):
            await asyncio.sleep(3)
            deadlines.token()
        assert passed.deadlines == []
        deadlines.close()

    run(main())


def test_whoever_never_starts_has_expired_even_where_all_is_due_at_once() -> None:
    async def main() -> None:
        passed = Passed()
        same = Deadlines(queue_ms=1000, first_token_ms=1000, inactivity_ms=1000, total_ms=1000)
        deadlines = StreamDeadlines(same, CONFIG, passed)
        passed.then = lambda name: deadlines.close()
        await asyncio.sleep(5)
        assert passed.deadlines == [(1, "queue")]

    run(main())


@pytest.mark.parametrize("when", ["before", "after a token", "after it passed"])
def test_closed_it_says_nothing_more(when: str) -> None:
    async def main() -> None:
        passed = Passed()
        deadlines = StreamDeadlines(None, CONFIG, passed)
        if when != "before":
            deadlines.token()
        if when == "after it passed":
            await asyncio.sleep(6)
        before = list(passed.deadlines)
        deadlines.close()
        deadlines.close()
        deadlines.started()
        deadlines.token()
        deadlines.restart_first_token()
        await asyncio.sleep(1000)
        assert passed.deadlines == before

    run(main())


def test_a_request_may_ask_for_longer_but_not_beyond_the_protocols_limit() -> None:
    async def main() -> None:
        passed = Passed()
        day_ms = 24 * 3600 * 1000
        asked = Deadlines(queue_ms=10 * day_ms, first_token_ms=day_ms / 2, total_ms=200_000)
        StreamDeadlines(asked, CONFIG, passed)
        await asyncio.sleep(20 * 24 * 3600)
        assert passed.deadlines == [(200, "total"), (12 * 3600, "first_token"), (24 * 3600, "queue")]

    run(main())


def test_tokens_set_no_timers() -> None:
    async def main() -> None:
        loop, passed = virtual_loop(), Passed()
        deadlines = StreamDeadlines(None, CONFIG, passed)
        deadlines.started()
        deadlines.token()
        before = loop.timers
        for _ in range(1000):
            loop.now += 0.001
            deadlines.token()
        assert loop.timers == before
        await asyncio.sleep(4.99)
        assert passed.deadlines == []
        await asyncio.sleep(0.02)
        assert passed.deadlines == [(6, "inactivity")]
        deadlines.close()

    run(main())


# No two things fall on the same moment: deadlines on whole seconds, inactivity on eighths, what happens on halves.
whole = st.integers(1, 30)


@given(
    queue=whole,
    first=whole,
    silence=whole,
    total=whole,
    happenings=st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["started", "token"])), max_size=12),
)
def test_the_first_that_passes_is_the_one_that_the_definition_says(queue, first, silence, total, happenings) -> None:
    at, times = 0.5, []
    for pause, what in happenings:
        at += pause
        times.append((at, what))
    tokens = [at for at, what in times if what == "token"]
    begun = min((at for at, _ in times), default=1e9)
    candidates = [(float(total), "total")]
    if begun > queue:
        candidates.append((queue, "queue"))
    if not tokens or tokens[0] > first:
        candidates.append((first, "first_token"))
    for token, following in zip(tokens, [*tokens[1:], 1e9], strict=False):
        if token + silence + 0.125 < following:
            candidates.append((token + silence + 0.125, "inactivity"))
    order = ["queue", "first_token", "inactivity", "total"]
    expected = min(candidates, key=lambda each: (each[0], order.index(each[1])))

    async def main() -> None:
        passed = Passed()
        asked = Deadlines(queue * 1000.0, first * 1000.0, silence * 1000.0 + 125, total * 1000.0)
        deadlines = StreamDeadlines(asked, CONFIG, passed)
        passed.then = lambda name: deadlines.close()
        loop = virtual_loop()
        for at, what in times:
            loop.call_at(1000 + at, getattr(deadlines, what))
        await asyncio.sleep(200)
        assert passed.deadlines == [expected]

    run(main())
