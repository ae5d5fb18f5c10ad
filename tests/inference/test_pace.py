"""Prompts beside streams: steps stay within twice what they take without, however the machine's steps cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.pace import STRETCH, Pace

Machine = Callable[[int, int], float]
"""Seconds of a step with so many decoding sequences and tokens of prompts."""


def linear(base: float, per_stream: float, per_token: float) -> Machine:
    return lambda decoding, prefill: base + per_stream * decoding + per_token * prefill


def memory_bound(base: float, per_token: float) -> Machine:
    """Tokens cost nothing until computing them takes longer than reading the weights."""
    return lambda decoding, prefill: max(base, per_token * (decoding + prefill))


def with_entry(base: float, entry: float, per_token: float) -> Machine:
    """The first token of a prompt costs much, the others little."""
    return lambda decoding, prefill: base + (entry if prefill else 0) + per_token * prefill


def decode(pace: Pace, machine: Machine, decoding: int, steps: int = 9) -> None:
    for _ in range(steps):
        pace.note(decoding, 0, machine(decoding, 0))


def prefill(pace: Pace, machine: Machine, decoding: int, steps: int) -> list[int]:
    """The prompt tokens of each of the next steps, beside as many streams, from a prompt without end."""
    tokens = []
    for _ in range(steps):
        allowed = pace.prefill_tokens(decoding)
        assert allowed is not None
        tokens.append(allowed)
        pace.note(decoding, allowed, machine(decoding, allowed))
    return tokens


def test_nobody_to_hold_up_is_no_bound() -> None:
    pace = Pace()
    assert pace.prefill_tokens(0) is None
    pace.note(0, 500, 1.0)
    assert pace.prefill_tokens(0) is None
    assert pace.prefill_tokens(4) == 16


def test_the_first_prompt_begins_carefully() -> None:
    pace = Pace(minimum=8)
    assert pace.prefill_tokens(4) == 8
    decode(pace, linear(0.01, 0, 0.0001), 4)
    assert pace.prefill_tokens(4) == 8


@pytest.mark.parametrize(
    ("machine", "settled", "stretch"),
    [
        (linear(0.010, 0.0001, 0.00005), 216, 2.0),
        (memory_bound(0.010, 0.0001), 192, 2.25),
        (with_entry(0.010, 0.004, 0.0001), 60, 2.0),
        (linear(0.010, 0, 0.005), 16, 9.0),
    ],
    ids=["linear", "memory-bound", "with-entry", "dear"],
)
def test_a_long_prompt_soon_takes_what_the_streams_can_bear(machine: Machine, settled: int, stretch: float) -> None:
    """``stretch``: of the worst step on the way there, which may overshoot a little or be dear even at the minimum."""
    pace = Pace()
    decode(pace, machine, 8)
    tokens = prefill(pace, machine, 8, 25)
    assert tokens[-1] == pytest.approx(settled, rel=0.05)
    assert max(machine(8, count) for count in tokens) <= stretch * machine(8, 0)
    assert tokens[8] > 0.7 * tokens[-1]


@given(
    base=st.floats(0.001, 0.1),
    per_stream=st.floats(0, 0.001),
    per_token=st.floats(1e-6, 0.001),
    decoding=st.integers(1, 64),
)
def test_no_linear_machine_stretches_a_step_further(
    base: float, per_stream: float, per_token: float, decoding: int
) -> None:
    machine = linear(base, per_stream, per_token)
    pace = Pace()
    decode(pace, machine, decoding)
    for count in prefill(pace, machine, decoding, 20):
        assert count == pace.minimum or machine(decoding, count) <= STRETCH * machine(decoding, 0) * 1.001


def test_costs_that_rise_are_followed_at_once() -> None:
    pace = Pace()
    cheap, dear = linear(0.01, 0, 0.0001), linear(0.01, 0, 0.0003)
    decode(pace, cheap, 4)
    assert prefill(pace, cheap, 4, 20)[-1] == pytest.approx(100, abs=2)
    assert prefill(pace, dear, 4, 2)[1] == pytest.approx(33, abs=1)


def test_a_disturbed_step_is_forgotten() -> None:
    pace = Pace()
    machine = linear(0.01, 0, 0.0001)
    decode(pace, machine, 4)
    settled = prefill(pace, machine, 4, 20)[-1]
    pace.note(4, 0, 5.0)
    assert pace.prefill_tokens(4) == settled, "one decoding step says nothing against the others"
    pace.note(4, settled, 5.0)
    assert pace.prefill_tokens(4) == 16
    assert prefill(pace, machine, 4, 12)[-1] == pytest.approx(settled, abs=2)


def test_the_few_last_tokens_of_a_prompt_say_nothing() -> None:
    pace = Pace()
    machine = linear(0.01, 0, 0.0001)
    decode(pace, machine, 4)
    settled = prefill(pace, machine, 4, 20)[-1]
    pace.note(4, 1, 0.012)
    assert pace.prefill_tokens(4) == settled


def test_between_measured_batches_the_base_lies_on_a_line() -> None:
    pace = Pace()
    machine = linear(0.01, 0.001, 0.0001)
    for decoding in (32, 2):
        decode(pace, machine, decoding)
    assert prefill(pace, machine, 2, 20)[-1] == pytest.approx(120, abs=2)
    assert pace.prefill_tokens(1) == pace.prefill_tokens(2)
    assert pace.prefill_tokens(60) == pace.prefill_tokens(32)
    assert prefill(pace, machine, 17, 20)[-1] == pytest.approx(270, abs=2)


def test_without_a_measured_base_a_mixed_step_says_nothing() -> None:
    pace = Pace()
    pace.note(4, 100, 0.02)
    assert pace.prefill_tokens(4) == 16
