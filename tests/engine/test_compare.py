"""Whether two answers are alike, for every kind of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.compare import compare
from jupyter_streaminfer.protocol import OutputKind


def text(rows: list[Any]) -> bytes:
    return msgspec.json.encode(rows)


def prediction(**confidences: float) -> dict[str, Any]:
    ranked = sorted(confidences.items(), key=lambda pair: -pair[1])
    scores = [{"label": label, "confidence": confidence} for label, confidence in ranked]
    return {**scores[0], "scores": scores}


def span(start: int, label: str, confidence: float = 0.9) -> dict[str, Any]:
    return {"start": start, "end": start + 3, "text": "abc", "label": label, "confidence": confidence}


@pytest.mark.parametrize(
    ("kind", "one", "other", "alike", "largest"),
    [
        ("classes", [prediction(cat=0.9, dog=0.1)], [prediction(cat=0.6, dog=0.4)], 1, 0.3),
        ("classes", [prediction(cat=0.6, dog=0.4)], [prediction(cat=0.4, dog=0.6)], 0, 0.2),
        ("classes", [prediction(cat=0.9, dog=0.1)] * 2, [prediction(cat=0.9, cow=0.1)] * 2, 2, 0.0),
        ("spans", [[span(0, "x")], []], [[span(0, "x", 0.4)], []], 2, 0.5),
        ("spans", [[span(0, "x")]], [[span(1, "x")]], 0, 0.0),
        ("spans", [[span(0, "x")]], [[span(0, "y")]], 0, 0.0),
        ("spans", [[span(0, "x")]], [[span(0, "x"), span(5, "x")]], 0, 0.0),
        ("embedding", [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.005], [3.0, 4.5]], 1, 0.5),
        ("tensors", [[[1, 2], [3, 4]]], [[[1, 2], [3, 4.005]]], 1, 0.005),
        ("tensors", [{"a": [1.0], "b": 2.0}], [{"a": [1.0], "b": 2.5}], 0, 0.5),
        ("tensors", [{"a": [1.0]}], [{"b": [1.0]}], 0, 0.0),
        ("values", ["yes", None, True], ["yes", 1, True], 2, 0.0),
        ("values", [{"n": [1, "x", {"y": 2.0}]}], [{"n": [1, "x", {"y": 2.001}]}], 1, 0.001),
        ("values", [[1, 2]], [[1, 2, 3]], 0, 0.0),
        ("values", [[]], [[0.0]], 0, 0.0),
        ("values", [1.7e308], [-1.7e308], 0, 1.7976931348623157e308),
        ("values", [10**400], [1.5], 0, 1.7976931348623157e308),
        ("values", [1, 2], [1], 1, 0.0),
    ],
)
def test_what_is_alike(kind: OutputKind, one: list[Any], other: list[Any], alike: int, largest: float) -> None:
    found = compare(kind, text(one), text(other), 0.01)
    assert (found.rows, found.alike) == (max(len(one), len(other)), alike)
    assert found.largest == pytest.approx(largest)
    back = compare(kind, text(other), text(one), 0.01)
    assert (back.rows, back.alike) == (found.rows, found.alike)


def test_what_is_deeply_nested_is_compared_too() -> None:
    deep = b"[" * 400 + b"%d" + b"]" * 400
    assert compare("values", b"[" + deep % 1 + b"]", b"[" + deep % 2 + b"]", 0.5).largest == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(-1e6, 1e6) | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=6))
def test_anything_is_like_itself_however_it_is_written(rows: list[Any]) -> None:
    found = compare("values", text(rows), msgspec.json.format(text(rows), indent=2), 0.0)
    assert (found.rows, found.alike, found.largest) == (len(rows), len(rows), 0.0)


def test_what_is_of_another_kind_cannot_be_compared() -> None:
    with pytest.raises(msgspec.MsgspecError):
        compare("classes", text([prediction(cat=1.0)]), text([[1.0, 2.0]]), 0.1)
