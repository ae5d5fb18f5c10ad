"""The token bucket: what it lets through in any window, and how exactly it says when to come back."""

import math

from hypothesis import assume, given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.bucket import Bucket

rates = st.floats(0.01, 10_000)
bursts = st.integers(1, 1000)
starts = st.floats(0, 1e6)


@given(
    rate=rates, burst=bursts, start=starts, asked=st.lists(st.tuples(st.floats(0, 20), st.integers(0, 500)), min_size=1)
)
def test_no_window_has_more_than_the_burst_and_what_came_in_meanwhile(rate, burst, start, asked) -> None:
    bucket, now = Bucket(rate, burst), start
    taken: list[tuple[float, int]] = []
    for pause, amount in asked:
        now += pause
        if not bucket.wait(amount, now):
            bucket.take(amount, now)
            taken.append((now, amount))
    for first, (begin, _) in enumerate(taken):
        total = 0
        for at, amount in taken[first:]:
            total += amount
            assert total <= burst + rate * (at - begin + 2e-6) + 1e-6


@given(
    rate=rates,
    burst=bursts,
    start=starts,
    before=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 100)), max_size=20),
    amount=st.integers(1, 1000),
)
def test_after_exactly_the_wait_it_passes_and_not_before(rate, burst, start, before, amount) -> None:
    assume(amount <= burst)
    bucket, now = Bucket(rate, burst), start
    for pause, taken in before:
        now += pause
        if not bucket.wait(taken, now):
            bucket.take(taken, now)
    wait = bucket.wait(amount, now)
    assert 0 <= wait < math.inf
    assert bucket.wait(amount, now + wait) == 0
    if wait > 1e-4:
        assert bucket.wait(amount, now + wait - 1e-4) > 0


def test_it_begins_full_and_never_lets_more_through_than_it_holds() -> None:
    bucket = Bucket(rate=8, burst=5)
    assert bucket.wait(5, now=0) == 0
    assert bucket.wait(6, now=0) == math.inf
    bucket.take(5, now=0)
    assert bucket.wait(1, now=0) == 0.125
    assert bucket.wait(5, now=0.25) == 0.375
    assert bucket.wait(6, now=1e9) == math.inf


def test_asking_takes_nothing() -> None:
    bucket = Bucket(rate=1, burst=2)
    assert [bucket.wait(2, now=0) for _ in range(5)] == [0] * 5
