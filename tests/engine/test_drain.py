"""The drain rate, on a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.drain import DrainRate


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


def work(drain: DrainRate, clock: Clock, *, steps: int, tokens: int, step_s: float) -> None:
    for _ in range(steps):
        clock.now += step_s
        drain.note(tokens)


def test_nothing_is_said_before_something_was_seen() -> None:
    clock = Clock()
    drain = DrainRate(clock)
    assert drain.rate is None
    drain.resume()
    work(drain, clock, steps=3, tokens=100, step_s=0.125)
    assert drain.rate is None
    assert drain.retry_after_ms(10) == drain.retry_after_ms(10_000_000) == 1000
    work(drain, clock, steps=1, tokens=100, step_s=0.125)
    assert drain.rate == 800


@given(
    tokens=st.integers(1, 1000),
    step_s=st.floats(0.001, 2),
    pauses=st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1000)), min_size=1, max_size=10),
)
def test_a_steady_rate_is_told_exactly_whatever_the_pauses(tokens, step_s, pauses) -> None:
    clock = Clock()
    drain = DrainRate(clock)
    for steps, pause_s in pauses:
        drain.resume()
        work(drain, clock, steps=steps, tokens=tokens, step_s=step_s)
        drain.rest()
        clock.now += pause_s
    if sum(steps for steps, _ in pauses) * step_s >= 0.51:
        assert drain.rate == pytest.approx(tokens / step_s)


def test_it_is_the_rate_of_the_last_seconds() -> None:
    clock = Clock()
    drain = DrainRate(clock)
    drain.resume()
    work(drain, clock, steps=100, tokens=1000, step_s=0.25)
    work(drain, clock, steps=10, tokens=10, step_s=0.25)
    assert drain.rate == (10 * 1000 + 10 * 10) / 5
    work(drain, clock, steps=10, tokens=10, step_s=0.25)
    assert drain.rate == 40


def test_steps_longer_than_usual_do_not_make_it_look_further_back() -> None:
    clock = Clock()
    drain = DrainRate(clock)
    drain.resume()
    work(drain, clock, steps=8, tokens=1000, step_s=2)
    work(drain, clock, steps=3, tokens=10, step_s=2)
    assert drain.rate == 5


def test_what_is_noted_in_a_pause_counts_but_not_the_pause() -> None:
    clock = Clock()
    drain = DrainRate(clock)
    drain.resume()
    work(drain, clock, steps=4, tokens=50, step_s=0.25)
    clock.now += 0.5
    drain.rest()
    clock.now += 100
    drain.note(100)
    clock.now += 100
    assert drain.rate == 200


def test_a_standstill_shows_without_a_token() -> None:
    clock = Clock()
    drain = DrainRate(clock)
    drain.resume()
    work(drain, clock, steps=40, tokens=100, step_s=0.125)
    clock.now += 5
    assert drain.rate == 0
    assert drain.retry_after_ms(1) == 60_000


def test_when_to_ask_again_follows_the_rate() -> None:
    clock = Clock()
    drain = DrainRate(clock)
    drain.resume()
    work(drain, clock, steps=40, tokens=100, step_s=0.125)
    assert drain.retry_after_ms(1600) == 2000
    assert drain.retry_after_ms(1) == 50
    assert drain.retry_after_ms(1e9) == 60_000
    work(drain, clock, steps=40, tokens=400, step_s=0.125)
    assert drain.retry_after_ms(1600) == 500


@given(
    acts=st.lists(st.tuples(st.sampled_from(["note", "resume", "rest"]), st.floats(0, 100), st.integers(0, 10**9))),
    asked=st.integers(0, 10**9),
)
def test_it_is_bounded_whatever_happens(acts, asked) -> None:
    clock = Clock()
    drain = DrainRate(clock)
    for act, pause_s, tokens in acts:
        clock.now += pause_s
        if act == "note":
            drain.note(tokens)
        else:
            getattr(drain, act)()
    assert drain.rate is None or drain.rate >= 0
    assert 50 <= drain.retry_after_ms(asked) <= 60_000
