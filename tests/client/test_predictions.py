from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_streaminfer.client import Predictions
from jupyter_streaminfer.protocol import (
    Prediction,
    Result,
    Scored,
    Signature,
    Span,
    StreaminferError,
    TensorSpec,
    encode_inputs,
)


def make(rows: int) -> Predictions:
    scores = [Scored("<b>", 0.75), Scored("a", 0.25)]
    return answer([Prediction("<b>", 0.75, scores) for _ in range(rows)])


def answer(outputs: Any, kind: Any = None, specs: list[TensorSpec] | None = None, index: Any = None) -> Predictions:
    signature = None if kind is None else Signature([TensorSpec("x", "float32", [2])], specs or [], kind)
    result = Result("r", "shapes", "1", encode_inputs(outputs))
    return Predictions(result, signature, None if index is None else pd.Index(index))


def test_it_is_a_sequence() -> None:
    predictions = make(3)
    assert len(predictions) == 3
    assert predictions[0].label == "<b>"
    assert predictions[1:] == list(predictions)[1:]
    assert predictions.labels == ["<b>"] * 3
    assert predictions.confidences.dtype == np.float64
    assert predictions.confidences.tolist() == [0.75] * 3
    assert predictions.version == "1"
    assert not predictions.cached


def test_the_frame_has_a_column_for_every_class() -> None:
    frame = make(2).to_frame()
    assert list(frame.columns) == ["label", "confidence", "<b>", "a"]
    assert frame["a"].tolist() == [0.25, 0.25]


def test_the_text() -> None:
    assert repr(make(1)) == "<Predictions of shapes: 1 row>\n0: <b> (75%)"
    assert repr(make(12)).splitlines()[-1] == "and 2 more"
    assert len(repr(make(12)).splitlines()) == 12


def test_labels_are_text_and_not_markup() -> None:
    html = make(2)._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert "2 rows" in html


def test_spans() -> None:
    spans = answer([[Span(0, 3, "Ada", "PER", 0.9), Span(7, 9, "UK", "LOC", 0.8)], []], "spans", index=["p", "q"])
    assert spans[0][1].text == "UK"
    frame = spans.to_frame()
    assert frame["row"].tolist() == ["p", "p"]
    assert frame["label"].tolist() == ["PER", "LOC"]
    assert "Ada (PER 90%), UK (LOC 80%)" in repr(spans)


def test_embeddings() -> None:
    vectors = answer([[1.0, 2.0], [3.0, 4.0]], "embedding", [TensorSpec("vector", "float32", [2])], index=[7, 8])
    assert vectors.array.dtype == np.float32
    assert np.array_equal(vectors.array, [[1, 2], [3, 4]])
    frame = vectors.to_frame()
    assert list(frame.columns) == ["vector_0", "vector_1"]
    assert frame.index.tolist() == [7, 8]


def test_one_output() -> None:
    prices = answer([1.5, 2.5], "tensors", [TensorSpec("price", "float64")], index=["a", "b"])
    assert prices.array.tolist() == [1.5, 2.5]
    assert prices.array.dtype == np.float64
    assert prices.to_frame().to_dict() == {"price": {"a": 1.5, "b": 2.5}}


def test_several_outputs() -> None:
    specs = [TensorSpec("mean", "float32"), TensorSpec("box", "int64", [2])]
    both = answer([{"mean": 1.0, "box": [1, 2]}, {"mean": 2.0, "box": [3, 4]}], "tensors", specs)
    assert both[1]["box"].tolist() == [3, 4]
    assert both.arrays["box"].dtype == np.int64
    assert list(both.to_frame().columns) == ["mean", "box_0", "box_1"]
    with pytest.raises(StreaminferError, match="arrays"):
        _ = both.array


def test_outputs_of_different_length() -> None:
    ragged = answer([[1.0], [2.0, 3.0]], "tensors", [TensorSpec("y", "float32", [None])])
    assert [row.tolist() for row in ragged] == [[1.0], [2.0, 3.0]]
    assert ragged.to_frame()["y"].map(len).tolist() == [1, 2]
    with pytest.raises(StreaminferError, match="different shapes"):
        _ = ragged.array


def test_values() -> None:
    values = answer([{"a": 1}, {"a": None}], "values", index=[3, 4])
    assert values[0] == {"a": 1}
    assert values.to_frame().index.tolist() == [3, 4]
    assert answer(["x", 2, None], "values").to_frame()["value"].tolist() == ["x", 2, None]
    assert answer([], "values").to_frame().empty


def test_what_another_kind_of_model_says_is_refused_by_name() -> None:
    with pytest.raises(StreaminferError, match="values") as raised:
        _ = answer([1], "values").labels
    assert raised.value.field == "labels"


def test_without_a_signature_classes_are_told_from_values() -> None:
    assert make(1).kind == "classes"
    assert answer([{"label": 3}]).kind == "values"
