"""A heap of which most is gone before it is due."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.timetable import Timetable


@dataclass(eq=False)
class Thing:
    at: float
    waiting: bool = True


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans())))
def test_the_first_that_waits_is_first(things: list[tuple[int, bool]]) -> None:
    table: Timetable[Thing] = Timetable()
    made = [Thing(at) for at, _ in things]
    for thing in made:
        table.add(thing.at, thing)
    for thing, (_, stays) in zip(made, things, strict=True):
        thing.waiting = stays
    for expected in sorted(thing.at for thing in made if thing.waiting):
        assert table.first == expected
        assert table.pop().at == expected
    assert table.first == math.inf


def test_what_is_gone_is_forgotten() -> None:
    table: Timetable[Thing] = Timetable()
    last = Thing(0.0)
    table.add(0.0, last)
    for at in range(10_000):
        thing = Thing(float(at))
        table.add(at, thing)
        thing.waiting = False
    assert len(table) <= 2 * Timetable.SPARE + 2
    assert table.pop() is last
