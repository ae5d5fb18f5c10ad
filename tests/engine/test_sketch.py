"""Quantiles from a sketch, against those of all the numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.sketch import MAX_BINS, RELATIVE_ERROR, Sketch

NUMBERS = st.lists(st.floats(0, 1e12, allow_subnormal=False), min_size=1, max_size=300)


def sketch(numbers: list[float]) -> Sketch:
    made = Sketch()
    for number in numbers:
        made.add(number)
    return made


def check(made: Sketch, numbers: list[float], part: float) -> None:
    exact = sorted(numbers)[math.floor(part * (len(numbers) - 1))]
    assert made.quantile(part) == pytest.approx(exact, rel=RELATIVE_ERROR * (1 + 1e-9), abs=1e-9)


@given(NUMBERS, st.floats(0, 1))
def test_a_quantile_is_within_one_percent(numbers: list[float], part: float) -> None:
    check(sketch(numbers), numbers, part)


@given(NUMBERS, NUMBERS, st.floats(0, 1))
def test_merged_it_knows_as_much_as_one_that_had_all(one: list[float], other: list[float], part: float) -> None:
    merged = sketch(one)
    merged.merge(sketch(other))
    assert merged.count == len(one) + len(other)
    check(merged, one + other, part)


def test_it_stays_small_and_its_high_quantiles_right_whatever_comes() -> None:
    numbers = [1.03**power for power in range(-700, 3000)]
    made = sketch(numbers)
    assert len(made._bins) <= MAX_BINS
    check(made, numbers, 0.9)
    check(made, numbers, 1.0)
    made.merge(sketch([10.0**power for power in range(-8, 300)]))
    assert len(made._bins) <= MAX_BINS


def test_there_are_no_quantiles_of_nothing() -> None:
    assert Sketch().quantile(0.5) is None
