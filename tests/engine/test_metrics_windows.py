"""Windows that slide, labels that are bounded, counts that add up; on clocks that the tests move."""

from __future__ import annotations

import math
from itertools import chain
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.metrics import Meter, Tally
from jupyter_streaminfer.engine.metrics.labels import MAX_LABEL, legible
from jupyter_streaminfer.engine.metrics.meter import MAX_CLIENTS, MAX_SERIES
from jupyter_streaminfer.engine.metrics.window import DIGITS, SLICE_S, SLICES, Window, merged
from jupyter_streaminfer.engine.sketch import BUCKET_BOUNDS, RELATIVE_ERROR, Sketch
from jupyter_streaminfer.protocol import OTHER, WINDOW_S, ClientMetrics

NUMBERS = st.lists(st.floats(0.01, 1e6), max_size=20)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def check(window: Window, numbers: list[float]) -> None:
    found = window.distribution()
    if not numbers:
        assert found is None
        return
    assert found is not None
    numbers = sorted(numbers)
    rounding = 10**-DIGITS
    assert found.count == window.count == len(numbers)
    assert found.mean == pytest.approx(math.fsum(numbers) / len(numbers), rel=1e-9, abs=rounding)
    assert found.max == pytest.approx(numbers[-1], abs=rounding)
    for part, quantile in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        exact = numbers[math.floor(part * (len(numbers) - 1))]
        assert quantile == pytest.approx(exact, rel=RELATIVE_ERROR * (1 + 1e-9), abs=rounding)


@given(st.lists(NUMBERS, max_size=3 * SLICES))
def test_a_window_has_the_last_slices_and_its_buckets_have_all(slices: list[list[float]]) -> None:
    window = Window()
    for last, numbers in enumerate(slices):
        for number in numbers:
            window.current.add(number)
        check(window, list(chain(*slices[max(0, last + 1 - SLICES) : last + 1])))
        window.slide()
    every = list(chain(*slices))
    buckets = window.buckets()
    assert (buckets.count, buckets.total) == (len(every), pytest.approx(math.fsum(every)))
    inside = [bound for bound in BUCKET_BOUNDS if not any(math.isclose(bound, each) for each in every)]
    for bound in inside:
        assert buckets.counts[BUCKET_BOUNDS.index(bound)] == sum(each <= bound for each in every)


@given(NUMBERS, NUMBERS)
def test_merged_windows_are_as_one(one: list[float], other: list[float]) -> None:
    windows = [Window(), Window()]
    for window, numbers in zip(windows, (one, other), strict=True):
        for number in numbers:
            window.current.add(number)
    together = merged(window.sketch() for window in windows)
    assert together.count == len(one) + len(other)
    windows[0].absorb(windows[1])
    assert windows[0].buckets().count == together.count
    check(windows[0], one)


def test_many_of_a_number_are_as_good_as_each() -> None:
    at_once, one_by_one = Sketch(), Sketch()
    for number, times in ((0.0, 3), (5.0, 4), (1e-3, 1)):
        at_once.add(number, times)
        for _ in range(times):
            one_by_one.add(number)
    assert at_once.buckets().counts == one_by_one.buckets().counts
    assert (at_once.count, at_once.total, at_once.greatest) == (8, pytest.approx(20.001), 5.0)
    assert [at_once.at(rank) for rank in range(8)] == [one_by_one.at(rank) for rank in range(8)]


def test_an_error_rate_is_that_of_the_window() -> None:
    tally = Tally()
    for outcome in ("completed", "failed"):
        tally.open += 1
        tally.end(outcome, "internal")
    assert tally.traffic().error_rate == 0.5
    for _ in range(SLICES - 1):
        tally.slide()
    assert tally.traffic().error_rate == 0.5
    tally.slide()
    assert (tally.traffic().error_rate, tally.traffic().errors) == (None, {"internal": 1})


def total(rows: list[ClientMetrics]) -> int:
    return sum(row.traffic.requests for row in rows)


def test_a_thousand_clients_share_a_label_and_none_is_lost() -> None:
    clock = Clock()
    meter = Meter(clock)
    for number in range(1000):
        meter.client(f"client {number}").completed += 1
    rows = {row.client: row for row in meter.clients()}
    assert len(rows) == MAX_CLIENTS + 1
    assert rows[OTHER].traffic.requests == 1000 - MAX_CLIENTS
    assert total(list(rows.values())) == 1000

    busy = meter.client("client 7")
    busy.open += 1
    clock.now = 1.0
    meter.sample()
    clock.now = WINDOW_S + SLICE_S
    meter.look([])
    meter.client("newcomer").completed += 1
    clock.now += 1
    meter.sample()
    rows = {row.client: row for row in meter.clients()}
    assert set(rows) == {OTHER, "client 7", "newcomer"}, "the idle ones made room"
    assert total(list(rows.values())) == 1002
    assert rows[OTHER].traffic.requests_per_s == 0.0, "what was folded in did not happen just now"
    assert meter.client("client 7") is busy


def test_more_versions_than_labels_share_one() -> None:
    meter = Meter(Clock())
    for version in range(1000):
        spec = SimpleNamespace(name="m", version=str(version))
        account = meter.stream(SimpleNamespace(spec=spec), "", "someone")  # type: ignore[arg-type]
        account.tokens(2, 5.0)
    rows = meter.models([])
    assert len(rows) == MAX_SERIES + 1
    assert sum(row.traffic.tokens_out for row in rows) == meter.traffic().tokens_out == 2000
    other = next(row for row in rows if row.model == OTHER)
    assert other.latencies.ttft_ms is not None
    assert other.latencies.ttft_ms.count == 1000 - MAX_SERIES


@given(st.text(st.characters(exclude_categories=()), max_size=3 * MAX_LABEL))
def test_a_label_is_short_and_can_be_written(text: str) -> None:
    label = legible(text)
    assert len(label) <= MAX_LABEL
    assert label.isprintable() or not label
    label.encode()
    if len(text) <= MAX_LABEL and text.isprintable():
        assert label == text


def test_equal_rows_of_two_samples_are_one_object() -> None:
    meter = Meter(Clock())
    meter.client("alice").completed += 1
    meter.model(SimpleNamespace(spec=SimpleNamespace(name="m", version="1")), "").completed += 1  # type: ignore[arg-type]
    assert meter.clients()[0] is meter.clients()[0]
    assert meter.models([])[0] is meter.models([])[0]
