"""Intervals: against values from the literature, and against the coverage that they promise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.intervals import Mean, share, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_is_that_of_the_books(successes: int, trials: int, low: float, high: float) -> None:
    """The last one is example of Newcombe's comparison of methods (Statistics in Medicine 1998)."""
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.1, 5))
def test_an_interval_holds_its_share_and_shrinks_with_more(trials: int, part: float, z: float) -> None:
    successes = round(trials * part)
    low, high = wilson(successes, trials, z)
    assert 0 <= low <= successes / trials <= high <= 1
    wider_low, wider_high = wilson(successes, trials, z * 1.5)
    assert wider_low <= low <= high <= wider_high


def test_there_is_no_share_of_nothing() -> None:
    assert share(0, 0) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200))
def test_a_mean_is_that_of_its_numbers(numbers: list[float]) -> None:
    mean = Mean()
    for number in numbers:
        mean.add(number)
    interval = mean.interval()
    assert interval is not None
    assert interval.value == pytest.approx(sum(numbers) / len(numbers), rel=1e-9, abs=1e-6)
    assert interval.low <= interval.value <= interval.high


@pytest.mark.parametrize("size", [2, 5, 11, 12, 60])
def test_a_mean_lies_in_95_of_100_of_its_intervals(size: int) -> None:
    draw = random.Random(size)
    held = 0
    for _ in range(2000):
        mean = Mean()
        for _ in range(size):
            mean.add(draw.gauss(7.0, 3.0))
        interval = mean.interval()
        assert interval is not None
        held += interval.low <= 7.0 <= interval.high
    # Three standard deviations of the count itself.
    assert held / 2000 == pytest.approx(0.95, abs=0.0147)


def test_one_number_has_no_interval() -> None:
    mean = Mean()
    assert mean.interval() is None
    mean.add(3.0)
    assert mean.interval() is None
