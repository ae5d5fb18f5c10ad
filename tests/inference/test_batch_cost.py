"""The line of cost against batch size, learnt from measurements."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.batch_cost import BatchCost


def learn(cost: BatchCost, per_row: float, fixed: float, count: int, noise: float = 0.0, seed: int = 0) -> None:
    generator = random.Random(seed)
    for _ in range(count):
        rows = generator.randint(1, 32)
        cost.learn(rows, (per_row * rows + fixed) * (1 + noise * generator.random()))


@given(per_row=st.floats(1e-6, 1e-2), fixed=st.floats(1e-6, 1e-1))
def test_finds_the_line(per_row: float, fixed: float) -> None:
    cost = BatchCost()
    learn(cost, per_row, fixed, 50)
    for rows in (1, 16, 64):
        assert cost.of(rows) == pytest.approx(per_row * rows + fixed, rel=0.02)


def test_what_the_operating_system_interrupted_changes_little() -> None:
    cost = BatchCost()
    learn(cost, 1e-4, 1e-3, 100, noise=0.1)
    before = cost.of(32)
    cost.learn(32, 1.0)
    assert cost.of(32) < 1.5 * before


def test_follows_a_model_that_became_slower() -> None:
    cost = BatchCost()
    learn(cost, 1e-4, 1e-3, 300, noise=0.1)
    learn(cost, 1e-3, 1e-2, 300, noise=0.1, seed=1)
    assert cost.of(16) == pytest.approx(2.6e-2, rel=0.25)


def test_batches_of_one_size_keep_the_slope_that_was_known() -> None:
    cost = BatchCost()
    cost.learn(1, 1.1e-3)
    cost.learn(32, 4.2e-3)
    slope = cost.per_row
    for _ in range(2000):
        cost.learn(32, 4.2e-3)
    assert cost.per_row == pytest.approx(slope, rel=0.1)
    assert cost.of(32) == pytest.approx(4.2e-3, rel=0.01)


def test_nine_of_ten_are_within_the_slack() -> None:
    cost = BatchCost()
    learn(cost, 1e-4, 1e-3, 2000, noise=1.0)
    generator = random.Random(1)
    within = 0
    for _ in range(2000):
        rows = generator.randint(1, 32)
        within += (1e-4 * rows + 1e-3) * (1 + generator.random()) <= cost.of(rows) * cost.slack
    assert within / 2000 == pytest.approx(0.9, abs=0.1)


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0.0, 1e4)), min_size=1, max_size=50))
def test_stays_a_cost_whatever_is_measured(measured: list[tuple[int, float]]) -> None:
    cost = BatchCost()
    for rows, seconds in measured:
        cost.learn(rows, seconds)
        assert cost.per_row >= 0
        assert cost.fixed >= -1e-9 * max(1.0, seconds)
        assert cost.slack >= 1
