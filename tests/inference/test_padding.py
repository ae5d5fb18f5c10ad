"""From rows to tensors, padded and masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.padding import Padding, pad
from jupyter_streaminfer.inference.rows import SHORT, Rows
from jupyter_streaminfer.protocol import Signature, TensorSpec

CPU = torch.device("cpu")


def batch(rows: Rows, *specs: TensorSpec) -> dict[str, Any]:
    return Padding(Signature(list(specs)), CPU).batch(rows)


def test_fixed_columns_are_tensors_and_texts_stay() -> None:
    array = np.frombuffer(np.arange(4, dtype=np.float32).tobytes(), np.float32).reshape(2, 2)
    rows = Rows({"x": array, "text": ["a", np.array([1, 2])], "free": [{}, np.array([1])]})
    found = batch(rows, TensorSpec("x", "float32", [2]), TensorSpec("text", "text"), TensorSpec("free", "any"))
    assert found["x"].tolist() == array.tolist()
    found["x"][0, 0] = 7
    assert array[0, 0] == 0, "a model may write to its batch, and the request's own bytes stay"
    assert found["text"] is rows.columns["text"]
    assert found["free"] is rows.columns["free"]
    assert list(found) == ["x", "text", "free"]


def test_what_varies_is_padded_and_masked() -> None:
    rows = Rows({"ids": [np.array([1, 2]), np.array([3])], "more": [np.array([4]), np.array([5, 6, 7])]})
    found = batch(rows, TensorSpec("ids", "int64", [None]))
    assert found["ids"].tolist() == [[1, 2], [3, 0]]
    assert found["ids_mask"].tolist() == [[True, True], [True, False]]
    assert found["more"].tolist() == [[4, 0, 0], [5, 6, 7]], "columns that only the model knows vary in their first"
    assert found["more_mask"].sum(1).tolist() == [1, 3]


def test_there_is_a_mask_where_all_have_one_length() -> None:
    found = batch(Rows({"x": [np.ones((3, 2), np.float32)]}), TensorSpec("x", "float32", [None, 2]))
    assert found["x_mask"].tolist() == [[True] * 3]


@pytest.mark.parametrize("dimensions", [[0], [1], [0, 1], [0, 1, 2]])
@given(sizes=st.lists(st.tuples(*[st.integers(1, 4)] * 3), min_size=1, max_size=6))
def test_the_mask_says_where_there_is_something(dimensions: list[int], sizes: list[tuple[int, ...]]) -> None:
    shapes = [tuple(size if place in dimensions else 2 for place, size in enumerate(each)) for each in sizes]
    arrays = [np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32) for shape in shapes]
    padded, mask = pad(arrays, dimensions)
    assert mask.shape == (len(arrays), *(padded.shape[1 + place] for place in dimensions))
    for array, filled, there in zip(arrays, padded, mask, strict=True):
        inside = tuple(map(slice, array.shape))
        assert (filled[inside] == array).all()
        assert there[tuple(inside[place] for place in dimensions)].all()
        assert there.sum() == np.prod([array.shape[place] for place in dimensions])
        filled[inside] = 0
        assert not filled.any()


def test_rows_are_sliced_picked_and_joined() -> None:
    first = Rows({"x": np.arange(6).reshape(3, 2), "y": ["a", "b", "c"]})
    second = Rows({"x": np.array([[9, 9]]), "y": ["d"]})
    whole = Rows.concat([first[1:], second])
    assert len(whole) == 3
    assert whole.columns["x"].tolist() == [[2, 3], [4, 5], [9, 9]]
    assert whole.columns["y"] == ["b", "c", "d"]
    assert Rows.concat([first]) is first
    picked = first.pick([2, 0])
    assert (picked.columns["x"].tolist(), picked.columns["y"]) == ([[4, 5], [0, 1]], ["c", "a"])


def test_neighbours_are_put_together_without_a_copy() -> None:
    array = np.arange(12).reshape(6, 2)
    whole = Rows({"x": array, "y": list("abcdef")})
    one, two, three = whole.split([1, 2, 3])
    joined = Rows.concat([one, two[:1], two[1:]])
    assert (len(joined), joined.columns["y"]) == (3, ["a", "b", "c"])
    assert np.shares_memory(joined.columns["x"], array)
    assert np.array_equal(joined.columns["x"], array[:3])
    apart = Rows.concat([three[1:], one, two, Rows({"x": array[:1], "y": ["z"]})])
    assert apart.columns["y"] == ["e", "f", "a", "b", "c", "z"]
    assert apart.columns["x"].tolist() == [*array[4:].tolist(), *array[:3].tolist(), *array[:1].tolist()]
    assert not np.shares_memory(apart.columns["x"], array)
    assert whole[1:5][1:][:2].columns["y"] == ["c", "d"]


def test_a_parts_buckets_are_its_own() -> None:
    rows = Rows({"x": [np.zeros(3), np.zeros(17), "a"]})
    assert rows.buckets is None
    assert rows[:2].buckets == [(4,), (5,)]


def test_buckets_are_those_of_what_varies() -> None:
    assert Rows({"x": np.zeros((2, 5)), "text": ["a", "b"]}).buckets is None
    rows = Rows({"x": [np.zeros(3), np.zeros(17)], "y": [np.zeros((2, 33)), np.zeros((1, 64))], "z": np.zeros((2, 9))})
    assert rows.buckets == [(4, 4, 6), (5, 4, 6)]
    assert Rows({"text": ["a", np.zeros(4)]}).buckets is None, "texts that are not prepared have no length"


@given(sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=2, max_size=30))
def test_rows_of_one_bucket_are_hardly_padded(sizes: list[tuple[int, int]]) -> None:
    buckets = Rows({"x": [np.empty(size, bool) for size in sizes]}).buckets
    assert buckets is not None
    for bucket in set(buckets):
        alike = np.array([size for size, own in zip(sizes, buckets, strict=True) if own == bucket])
        assert (alike.max(0) <= np.maximum(SHORT, 2 * alike.min(0))).all()
