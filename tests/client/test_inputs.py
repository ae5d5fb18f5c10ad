import base64
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.client.encoding import checked
from jupyter_streaminfer.client.inputs import encoded, needs_signature
from jupyter_streaminfer.protocol import MAX_MESSAGE_BYTES, Predict, Signature, StreaminferError, TensorSpec

ROWS = [[1.0, 2.0], [3.0, 4.0]]
FLOATS = Signature([TensorSpec("x", "float32", [2])])
PIXELS = Signature([TensorSpec("x", "uint8", [2])])
SCALARS = Signature([TensorSpec("x", "float32")])
TEXTS = Signature([TensorSpec("text", "text")])
PEOPLE = Signature([TensorSpec("age", "float32"), TensorSpec("name", "any")])

KINDS = [
    ROWS,
    (tuple(ROWS[0]), tuple(ROWS[1])),
    np.array(ROWS),
    np.array(ROWS, dtype=np.float32),
    np.array(ROWS, dtype=np.float16),
    np.asfortranarray(ROWS),
    np.array(ROWS, dtype=">f8"),
    np.array(ROWS, dtype=np.int64),
    [np.array(ROWS[0]), np.array(ROWS[1])],
    torch.tensor(ROWS),
    torch.tensor(ROWS, requires_grad=True),
    torch.tensor(ROWS, dtype=torch.bfloat16),
    [torch.tensor(row) for row in ROWS],
    pd.DataFrame(ROWS, columns=["a", "b"]),
    pd.Series([np.array(row) for row in ROWS]),
]


def sent(inputs: Any, signature: Signature | None = None, **options: Any) -> Any:
    """What a worker would read, tensors as arrays."""

    def read(column: Any) -> Any:
        if isinstance(column, dict) and "data" in column:
            data = base64.b64decode(column["data"])
            return np.frombuffer(data, np.dtype(column["dtype"]).newbyteorder("<")).reshape(column["shape"])
        return column

    request, _ = checked(Predict("r", "m", encoded(inputs, signature, **options)))
    found = json.loads(bytes(request.inputs))
    if isinstance(found, dict) and "data" not in found:
        return {name: read(column) for name, column in found.items()}
    return read(found)


@pytest.mark.parametrize("inputs", KINDS, ids=lambda inputs: type(inputs).__name__)
def test_rows_of_any_kind_are_the_same_request(inputs: Any) -> None:
    assert sent(inputs) == ROWS
    known = sent(inputs, FLOATS)
    assert np.array_equal(known, np.array(ROWS, dtype=np.float32))
    if isinstance(known, np.ndarray):
        assert known.dtype == np.float32


@pytest.mark.parametrize("inputs", [[1.0, 2.0], np.array([1.0, 2.0]), pd.Series([1.0, 2.0]), torch.tensor([1.0, 2.0])])
def test_one_plain_row_is_one_row(inputs: Any) -> None:
    assert sent(inputs) == [[1.0, 2.0]]
    assert np.array_equal(sent(inputs, FLOATS), [[1.0, 2.0]])
    assert np.array_equal(sent(inputs, SCALARS), [1.0, 2.0]), "where a row is a number, these are two"
    assert np.array_equal(sent(inputs, FLOATS, single=False), [1.0, 2.0])


def test_texts() -> None:
    assert sent("one", TEXTS) == ["one"]
    assert sent(["one", "two"], TEXTS) == ["one", "two"]
    assert sent(np.array(["one", "two"]), TEXTS) == ["one", "two"]
    assert sent(pd.Series(["one", "two"]), TEXTS) == ["one", "two"]
    assert sent(pd.DataFrame({"review": ["one", None]}), TEXTS) == ["one", None]
    assert sent([5, 6, 7], TEXTS) == [[5, 6, 7]], "token ids of one text"


@pytest.mark.parametrize(
    "inputs",
    [
        {"age": [36.0, 41.0], "name": ["Ada", "Grace"]},
        {"age": np.array([36, 41]), "name": np.array(["Ada", "Grace"])},
        [{"age": 36.0, "name": "Ada"}, {"name": "Grace", "age": 41.0}],
        pd.DataFrame({"name": ["Ada", "Grace"], "age": [36, 41]}),
    ],
    ids=["lists", "arrays", "objects", "frame"],
)
def test_several_inputs_by_their_names(inputs: Any) -> None:
    found = sent(inputs, PEOPLE)
    assert np.array_equal(found["age"], [36.0, 41.0])
    assert found["name"] == ["Ada", "Grace"]


def test_a_frame_with_other_columns_is_refused_by_their_names() -> None:
    with pytest.raises(StreaminferError, match=r"lacks 'age'; drop 'height'") as raised:
        encoded(pd.DataFrame({"name": ["Ada"], "height": [1.6]}), PEOPLE)
    assert raised.value.field == "inputs"


def test_objects_with_other_keys_are_refused_by_their_row() -> None:
    with pytest.raises(StreaminferError, match="row 1 of inputs"):
        encoded([{"age": 1, "name": "a"}, {"age": 1}], PEOPLE)


@pytest.mark.parametrize("inputs", [object(), 3.0, None, np.array(3.0), [[object()]], {"x": 3}])
def test_what_is_no_data_is_refused(inputs: Any) -> None:
    for signature in (None, FLOATS):
        with pytest.raises(StreaminferError) as raised:
            encoded(inputs, signature)
        assert (raised.value.code, raised.value.field) == ("invalid_request", "inputs")


def test_too_much_for_one_request_says_what_takes_it() -> None:
    with pytest.raises(StreaminferError, match="predict_stream") as raised:
        encoded(np.zeros((MAX_MESSAGE_BYTES // 8, 2), dtype=np.float32), FLOATS)
    assert raised.value.code == "too_large"


@given(st.lists(st.lists(st.integers(-(2**40), 2**40), min_size=2, max_size=2), min_size=1, max_size=5))
def test_no_number_is_changed_but_by_rounding(rows: list[list[int]]) -> None:
    assert np.array_equal(sent(np.array(rows), PIXELS), rows), "to be refused by the model, and not wrapped"
    assert np.array_equal(sent(np.array(rows), FLOATS), np.array(rows, dtype=np.float32))
    assert np.array_equal(sent(np.array(rows, dtype=float), PIXELS), rows)


def test_a_number_too_large_for_the_dtype_is_not_made_infinite() -> None:
    assert np.isfinite(sent(np.array([[1e300, 0.0]]), FLOATS)).all()


def test_ragged_rows_stay_lists() -> None:
    variable = Signature([TensorSpec("x", "float32", [None])])
    assert sent([np.array([1.0]), np.array([2.0, 3.0])], variable) == [[1.0], [2.0, 3.0]]


@pytest.mark.parametrize("inputs", [ROWS, ["one", "two"], "one", [(1.0, 2.0)]])
def test_plain_lists_and_texts_need_no_signature(inputs: Any) -> None:
    assert not needs_signature(inputs)


@pytest.mark.parametrize("inputs", [[1.0], np.array(ROWS), [np.array(ROWS[0])], [{"a": 1}], pd.DataFrame(ROWS), {}])
def test_everything_else_does(inputs: Any) -> None:
    assert needs_signature(inputs)
