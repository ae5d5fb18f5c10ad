"""Batches are counted by their size, in few counts, whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.batch_sizes import BatchSizes


@given(st.lists(st.integers(1, 10**6)))
def test_none_is_lost_and_none_is_off_by_more_than_one_percent(sizes: list[int]) -> None:
    counted = BatchSizes()
    for size in sizes:
        counted.add(size)
    found = sorted(size for size, count in counted.counts().items() for _ in range(count))
    assert len(found) == len(sizes)
    for size, seen in zip(sorted(sizes), found, strict=True):
        assert seen <= size
        assert seen == size or (size >= 256 and size - seen < 0.01 * size)


def test_there_are_few_counts() -> None:
    counted = BatchSizes()
    for size in range(1, 5000):
        counted.add(size)
    assert len(counted.counts()) < 1000
