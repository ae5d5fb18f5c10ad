"""The noise is uniform, and the same in every version: a stored seed must give its stream again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.noise import noise_keys, uniform

MASK = 2**64 - 1


def split_mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def noise(seeds: list[int], positions: list[int]) -> np.ndarray:
    return uniform(noise_keys(seeds), np.array(positions))


@given(rows=st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**40)), min_size=1, max_size=8))
def test_equals_the_definition_in_whole_numbers(rows: list[tuple[int, int]]) -> None:
    seeds, positions = map(list, zip(*rows, strict=True))
    expected = [split_mix(split_mix(seed) + position * 0x9E3779B97F4A7C15 & MASK) >> 40 for seed, position in rows]
    assert (noise(seeds, positions) * 2**24).tolist() == expected


def test_these_values_never_change() -> None:
    values = noise([0, 0, 1, 7, 2**63 - 1], [0, 1, 0, 123456, 2**21]) * 2**24
    assert values.tolist() == [10946269, 11764387, 6177195, 9262077, 15344137]


@pytest.mark.parametrize("along", ["seeds", "positions"])
def test_is_uniform_and_uncorrelated(along: str) -> None:
    count = 20_000
    values = noise([*range(count)], [7] * count) if along == "seeds" else noise([7] * count, [*range(count)])
    assert values.min() >= 0.0
    assert values.max() < 1.0
    histogram, _ = np.histogram(values, 20, (0, 1))
    assert ((histogram - count / 20) ** 2 / (count / 20)).sum() < 43.8  # 19 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / count**0.5
