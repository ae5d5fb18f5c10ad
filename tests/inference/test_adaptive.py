"""Adaptive batching on simulated models and clocks: nine of ten rows within the target, where that can be."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.adaptive import Adaptive
from jupyter_streaminfer.inference.batch_cost import BatchCost
from jupyter_streaminfer.inference.batcher import Batcher

LARGEST = 64


class Simulation:
    """A worker whose batches cost what a line says, and rows that arrive at random, one a job."""

    def __init__(self, per_row: float, fixed: float, target: float, noise: float = 0.2) -> None:
        self.now = 0.0
        self.per_row, self.fixed, self.noise = per_row, fixed, noise
        self.random = random.Random(0)
        self.cost = BatchCost()
        self.adaptive = Adaptive(self.cost, target, LARGEST, 0.005)
        self.batcher: Batcher[list[int], int] = Batcher(LARGEST, 5.0, 10**6, lambda: self.now)
        self.seen = 1
        for rows in (1, LARGEST):
            self.cost.learn(rows, self.seconds(rows))
            self.seen = rows

    def seconds(self, rows: int) -> float:
        return (self.per_row * rows + self.fixed) * (1 + self.noise * self.random.random())

    def run(self, rate: float, count: int) -> list[float]:
        """How long each of ``count`` rows took, of ``rate`` a second."""
        arrivals: deque[float] = deque()
        at = self.now
        for _ in range(count):
            at += self.random.expovariate(rate)
            arrivals.append(at)
        came: dict[str, float] = {}
        took: list[float] = []
        while len(took) < count:
            while arrivals and arrivals[0] <= self.now:
                job = str(len(came))
                came[job] = arrivals.popleft()
                self.batcher.submit(job, [0])
            due = self.batcher.due_in()
            if due != 0.0:
                self.now = min(arrivals[0] if arrivals else self.now + 1, self.now + (1 if due is None else due + 1e-9))
                continue
            parts = self.batcher.take()
            seconds = self.seconds(len(parts))
            self.now += seconds
            self.cost.learn(len(parts), seconds)
            for part in parts:
                self.batcher.complete(part.job, part.rows)
                took.append(self.now - came[part.job])
            self.adapt()
        return took

    def adapt(self) -> None:
        size, wait = self.adaptive.choose(self.seen, self.batcher.rows)
        self.batcher.configure(max_batch_size=size, max_wait_ms=wait * 1000)


@pytest.mark.parametrize("load", [0.05, 0.5, 0.8])
@pytest.mark.parametrize(("per_row", "fixed", "target"), [(1e-4, 1e-3, 0.01), (1e-3, 1e-3, 0.05), (1e-5, 5e-3, 0.02)])
def test_nine_of_ten_rows_are_in_time(per_row: float, fixed: float, target: float, load: float) -> None:
    simulation = Simulation(per_row, fixed, target)
    simulation.adapt()
    size, _ = simulation.adaptive.choose(LARGEST, 0)
    capacity = size / (per_row * size + fixed) / (1 + simulation.noise)
    took = simulation.run(load * capacity, 4000)
    assert simulation.adaptive.attainable
    assert sum(seconds <= target for seconds in took) >= 0.9 * len(took)


def test_the_size_is_what_the_target_leaves_room_for() -> None:
    for target, expected in ((0.01, 40), (0.004, 10), (1.0, LARGEST), (0.0025, 2)):
        size, wait = Simulation(1e-4, 1e-3, target, noise=0.0).adaptive.choose(LARGEST, 0)
        assert size == pytest.approx(expected, abs=1)
        assert 0 <= wait <= 0.005


def test_a_target_that_cannot_be_kept_means_batches_of_one_without_a_wait() -> None:
    simulation = Simulation(1e-4, 1e-2, 0.005, noise=0.0)
    assert not simulation.adaptive.attainable
    assert simulation.adaptive.choose(LARGEST, 0) == (1, 0.0)
    assert simulation.adaptive.choose(LARGEST, 1) == (1, 0.0)


def test_too_much_to_do_is_done_in_larger_batches() -> None:
    """Small ones, as the target asks, would get through it more slowly, and ever more would wait."""
    simulation = Simulation(1e-4, 1e-2, 0.03)
    small, _ = simulation.adaptive.choose(LARGEST, 0)
    took = simulation.run(1.5 * small / (1e-4 * small + 1e-2), 4000)
    assert max(took) < 10 * 0.03


def test_sizes_that_were_never_measured_are_approached_step_by_step() -> None:
    adaptive = Simulation(1e-6, 1e-3, 1.0).adaptive
    assert [adaptive.choose(seen, 0)[0] for seen in (1, 2, 10, 40)] == [2, 4, 20, LARGEST]


@given(
    measured=st.lists(st.tuples(st.integers(1, 100), st.floats(0.0, 100.0)), max_size=20),
    target=st.floats(1e-6, 60.0),
    seen=st.integers(1, 100),
    waiting=st.integers(0, 10**6),
)
@example(
    measured=[(38, 13.0), (37, 1.0), (1, 0.0), (17, 9.0), (7, 0.0), (1, 0.0), (1, 14.0), (27, 93.0), (64, 45.0)],
    target=1.0,
    seen=1,
    waiting=2,
)
def test_the_bounds_are_kept_whatever_is_measured(
    measured: list[tuple[int, float]], target: float, seen: int, waiting: int
) -> None:
    """The example's line had, by rounding, a fixed cost below nothing, and of that there is no root."""
    cost = BatchCost()
    for rows, seconds in measured:
        cost.learn(rows, seconds)
    size, wait = Adaptive(cost, target, LARGEST, 0.005).choose(seen, waiting)
    assert 1 <= size <= min(LARGEST, 2 * seen)
    assert 0 <= wait <= 0.005
