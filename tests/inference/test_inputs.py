"""Reading a request's rows by a signature: what fits, and what is said of what does not."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.column import SHORT_BYTES
from jupyter_streaminfer.inference.inputs import TOGETHER, InputReader
from jupyter_streaminfer.inference.rows import Rows
from jupyter_streaminfer.protocol import (
    MAX_PREDICT_ROWS,
    ErrorInfo,
    InputDType,
    Signature,
    StreaminferError,
    Tensor,
    TensorSpec,
    encode_inputs,
)

FOUR = TensorSpec("x", "float32", [4], also=[[2, 2]])
IDS = TensorSpec("ids", "int64", [None], minimum=0, maximum=9, max_length=5)
TEXT = TensorSpec("text", "text", minimum=0, maximum=9, max_length=3)
FREE = TensorSpec("free", "any")


def read(inputs: Any, *specs: TensorSpec) -> dict[str, Any]:
    """The columns; ``inputs`` as JSON text or anything that is made one."""
    data = inputs if isinstance(inputs, bytes) else json.dumps(inputs).encode()
    return dict(InputReader(Signature(list(specs))).read(data).columns)


def refusal(inputs: Any, *specs: TensorSpec) -> str:
    with pytest.raises(StreaminferError) as caught:
        read(inputs, *specs)
    assert (caught.value.code, caught.value.field) == ("invalid_request", "inputs")
    return str(caught.value)


def outcome(reader: InputReader, text: bytes) -> Rows | ErrorInfo:
    """The rows, or why there are none."""
    try:
        return reader.read(text)
    except StreaminferError as error:
        return error.info


def tensor(array: np.ndarray, **changes: Any) -> bytes:
    fields = {"dtype": array.dtype.name, "shape": list(array.shape), "data": array.tobytes()} | changes
    return bytes(encode_inputs(Tensor(**fields)))


@pytest.mark.parametrize(
    "inputs", [[[1, 2.5, 3, 4]] * 2, [[[1, 2.5], [3, 4]]] * 2, [[1, 2.5, 3, 4], [[1, 2.5], [3, 4]]]]
)
@pytest.mark.parametrize("named", [False, True])
def test_every_shape_that_a_row_may_have(inputs: list[Any], named: bool) -> None:
    column = read({"x": inputs} if named else inputs, FOUR)["x"]
    assert column.dtype == np.float32
    assert column.tolist() == [[1, 2.5, 3, 4]] * 2


def test_shapes_may_change_from_request_to_request() -> None:
    reader = InputReader(Signature([FOUR]))
    for inputs in ([[1, 2, 3, 4]], [[[1, 2], [3, 4]]], [[1, 2, 3, 4]], [[1, 2, 3, 4], [[1, 2], [3, 4]]]):
        column = reader.read(json.dumps(inputs).encode()).columns["x"]
        assert isinstance(column, np.ndarray)
        assert column.tolist() == [[1, 2, 3, 4]] * len(inputs)


def test_several_inputs_come_by_name() -> None:
    columns = read({"text": ["a", [1, 2]], "ids": [[1], [2, 3]], "free": [{"a": None}, 3]}, IDS, TEXT, FREE)
    assert list(columns) == ["ids", "text", "free"]
    assert [row.tolist() for row in columns["ids"]] == [[1], [2, 3]]
    assert columns["text"][0] == "a"
    assert columns["text"][1].tolist() == [1, 2]
    assert columns["free"] == [{"a": None}, 3]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (b"", "cannot be read"),
        (b"[[1,2,3,4]", "cannot be read"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"x":' + b"[" * 100_000, "nested too deep"),
        (3, "must be a list of rows, found a number"),
        ("abcd", "must be a list of rows, found a text"),
        (None, "found null"),
        ([], "must have 1 to 4096 rows, found 0"),
        ([[0.0] * 4] * (MAX_PREDICT_ROWS + 1), "must have 1 to 4096 rows, found 4097"),
        ([[0.0] * 4, [0.0] * 3], "row 1 of inputs must have shape [4] or [2, 2], found shape [3]"),
        ([[[[[[[[[[[0.0]]]]]]]]]]], "row 0 of inputs must have shape"),
        ([[0, 0, 0, True]], "row 0 of inputs must hold numbers only, found bool"),
        ([[0, 0, 0, float("inf")]], "row 0 of inputs must hold finite numbers of single precision only"),
        ([[0, 0, 0, 3.5e38]], "row 0 of inputs must hold finite numbers of single precision only"),
        ({"x": [[0.0] * 3]}, "row 0 of inputs.x must have shape"),
        (b'{"x":[[0,0,0,NaN]]}', "row 0 of inputs.x must hold finite"),
        ({"y": [[0.0] * 4]}, "has 'y', which the model does not take; it takes x"),
        ({}, "lacks x"),
    ],
)
def test_what_is_wrong_is_said(inputs: Any, said: str) -> None:
    assert said in refusal(inputs, FOUR)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([[1]], "must be an object with the rows of ids, text"),
        ({"ids": [[1]]}, "lacks text"),
        ({"ids": [[1]], "text": ["a", "b"]}, "inputs.text must have as many rows as inputs.ids, 1, found 2"),
        ({"ids": [[1], [10]], "text": ["a", "b"]}, "row 1 of inputs.ids must hold numbers from 0 to 9 only"),
        ({"ids": [[1], []], "text": ["a", "b"]}, "row 1 of inputs.ids must have shape [1..5], found shape [0]"),
        ({"ids": [[1] * 6], "text": ["a"]}, "row 0 of inputs.ids must have shape [1..5], found shape [6]"),
        ({"ids": [[1.0]], "text": ["a"]}, "row 0 of inputs.ids must hold whole numbers only, found float"),
        ({"ids": [[1]], "text": [1]}, "row 0 of inputs.text must be a text or a list of token ids, found a number"),
        ({"ids": [[1]], "text": [[1] * 4]}, "row 0 of inputs.text must have shape [1..3], found shape [4]"),
        ({"ids": [[1]], "text": [[10]]}, "row 0 of inputs.text must hold numbers from 0 to 9 only"),
        (b'{"ids":[[1]],"text":["\\ud800"]}', "inputs.text cannot be read"),
        ({"ids": [[10**30]], "text": ["a"]}, "row 0 of inputs.ids must hold numbers from 0 to 9"),
    ],
)
def test_what_is_wrong_with_a_named_column_is_said(inputs: Any, said: str) -> None:
    assert said in refusal(inputs, IDS, TEXT)


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("float32", [0, 1.5, -3e38], [4e38]),
        ("float64", [0, 1.5, 1e308], ["1", 10**400]),
        ("int64", [-(2**63), 2**63 - 1], [2**63]),
        ("int32", [-(2**31), 2**31 - 1], [2**31]),
        ("uint8", [0, 255], [256, -1]),
        ("bool", [True, False], [1]),
    ],
)
def test_every_type(dtype: InputDType, good: list[Any], bad: list[Any]) -> None:
    spec = TensorSpec("x", dtype)
    column = read(good, spec)["x"]
    assert column.dtype == dtype
    assert column.tolist() == np.array(good, dtype).tolist()
    for value in bad:
        assert "row 1 of inputs must hold" in refusal([good[0], value], spec)


def test_a_tensor_is_its_rows() -> None:
    array = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert read(tensor(array), FOUR)["x"].tolist() == array.tolist()
    assert read(tensor(array.reshape(2, 2, 2)), FOUR)["x"].tolist() == array.tolist()
    assert read(tensor(array.astype(np.float64)), FOUR)["x"].dtype == np.float32
    assert read(tensor(array.astype(np.uint8)), FOUR)["x"].tolist() == array.tolist()
    rows = read(tensor(np.array([[1, 2], [3, 4]], np.int32)), IDS)["ids"]
    assert [(row.dtype, row.tolist()) for row in rows] == [(np.int64, [1, 2]), (np.int64, [3, 4])]
    flags = TensorSpec("x", "bool", [2])
    assert read(tensor(np.array([[True, False]])), flags)["x"].tolist() == [[True, False]]
    assert read(tensor(np.array([[1, 7]], np.uint8), dtype="bool"), flags)["x"].tolist() == [[True, True]]
    loose = TensorSpec("x", "float32", [2], finite=False)
    assert np.isnan(read(tensor(np.array([[np.nan, np.inf]], np.float32)), loose)["x"][0, 0])


@pytest.mark.parametrize(
    ("inputs", "spec", "said"),
    [
        (tensor(np.zeros((1, 4), np.float32), data=b"1234"), FOUR, "16 bytes of data for 1 x 4 float32, found 4"),
        (tensor(np.zeros((1, 4), np.float32), shape=[2**40, 4]), FOUR, "must have 1 to 4096 rows"),
        (tensor(np.zeros((0, 4), np.float32)), FOUR, "must have 1 to 4096 rows, found 0"),
        (tensor(np.zeros((2, 3), np.float32)), FOUR, "must have shape [4] or [2, 2], found shape [3]"),
        (tensor(np.array([[0, 0, 0, 0], [0, 0, 0, np.nan]], np.float32)), FOUR, "row 1 of inputs must hold finite"),
        (tensor(np.array([[0, 0, 0, 1e39]])), FOUR, "row 0 of inputs must hold finite numbers of single precision"),
        (tensor(np.array([[True] * 4])), FOUR, "must be float32, or what can be written as such, found bool"),
        (tensor(np.array([[1.0]])), IDS, "must be int64, or what can be written as such, found float64"),
        (tensor(np.array([[1], [10]])), IDS, "row 1 of inputs must hold numbers from 0 to 9"),
        (tensor(np.array([[1]])), TEXT, "must be a list of rows, found a tensor"),
        (b'{"dtype":"float16","shape":[1,4],"data":""}', FOUR, "which this is not"),
        (b'{"dtype":"float32","shape":[1,4],"data":"!"}', FOUR, "which this is not"),
    ],
)
def test_a_tensor_is_checked_as_lists_are(inputs: bytes, spec: TensorSpec, said: str) -> None:
    assert said in refusal(inputs, spec)


def test_a_named_tensor_beside_lists() -> None:
    data = base64.b64encode(np.zeros((2, 4), np.float32).tobytes()).decode()
    columns = {"x": {"dtype": "float32", "shape": [2, 4], "data": data}, "ids": [[1], [2]]}
    assert read(columns, FOUR, IDS)["x"].shape == (2, 4)
    columns["ids"] = [[1]]
    assert "inputs.ids must have as many rows" in refusal(columns, FOUR, IDS)


numbers = st.one_of(
    st.integers(-3, 300),
    st.floats(width=32, allow_nan=False),
    st.sampled_from([True, None, "1", 3.5e38, float("nan"), 2**63, 10**400]),
)
rows = st.lists(
    st.lists(numbers, max_size=3) | st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=2), max_size=2)
)


@given(
    inputs=rows | st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1),
    dtype=st.sampled_from(["float32", "float64", "int64", "int32", "uint8", "bool"]),
    shape=st.sampled_from([[2], [None], [1, 2], [None, 2]]),
)
def test_rows_are_read_as_python_would_or_refused(
    inputs: list[Any], dtype: InputDType, shape: list[int | None]
) -> None:
    """Whatever is sent, it comes out as the numbers that went in, or as one clear refusal."""
    spec = TensorSpec("x", dtype, shape)
    try:
        column = read(inputs, spec)["x"]
    except StreaminferError:
        return
    assert len(column) == len(inputs)
    for row, given_row in zip(column, inputs, strict=True):
        assert row.dtype == dtype
        assert row.tolist() == np.array(given_row, dtype).tolist()
        assert all(wanted in (None, size) for wanted, size in zip(shape, row.shape, strict=True))


MIXED = [
    b"[[1, 2, 3, 4]]",
    b" [[0.5, -1, 2e3, 4]]",
    b"[[1, 2, 3, 4], [5, 6, 7, 8]]",
    b"[[[1, 2], [3, 4]]]",
    b"[[1, 2, 3, 4], [[1, 2], [3, 4]]]",
    b"[" + b"[1, 2, 3, 4], " * SHORT_BYTES + b"[5, 6, 7, 8]]",
    b'{"x": [[1, 2, 3, 4]]}',
    tensor(np.ones((3, 4), np.float32)),
    b"[]",
    b"[[1, 2, 3]]",
    b"[[1, 2, 3, true]]",
    b"[[1, 2, 3, NaN]]",
    b"[[1, 2, 3, 1e39]]",
    b"[[1, 2, 3, 4]], [[1, 2, 3, 4]]",
    b"[[1, 2",
    b'{"y": [[1, 2, 3, 4]]}',
    b'["a", [1, 2]]',
    b"[[1], [2, 3]]",
    b"\xff",
    b"",
]
"""What the requests of one turn may be like, good ones and bad ones."""


@given(
    texts=st.lists(st.sampled_from(MIXED), max_size=12),
    specs=st.sampled_from([[FOUR], [IDS], [TEXT], [FREE], [FOUR, IDS]]),
)
def test_requests_that_come_together_are_read_as_each_alone(texts: list[bytes], specs: list[TensorSpec]) -> None:
    """They share an array, and once one of them was wrong it is still that one alone which is refused, and told why."""
    reader = InputReader(Signature(specs))
    found = reader.read_each(texts)
    assert len(found) == len(texts)
    for text, together in zip(texts, found, strict=True):
        alone = outcome(InputReader(Signature(specs)), text)
        if isinstance(alone, ErrorInfo):
            assert isinstance(together, StreaminferError)
            assert together.info == alone
            continue
        assert isinstance(together, Rows)
        assert len(together) == len(alone)
        assert together.columns.keys() == alone.columns.keys()
        for name, column in alone.columns.items():
            np.testing.assert_equal(together.columns[name], column)


def test_few_requests_share_an_array() -> None:
    """One that waits for long keeps only so many others' numbers; in large requests there is nothing to share."""
    reader = InputReader(Signature([FOUR]))
    small, large = MIXED[0], MIXED[5]
    found = reader.read_each([large, *[small] * (TOGETHER + 1), large])
    bases = [rows.columns["x"].base for rows in found if isinstance(rows, Rows)]
    assert len(bases) == TOGETHER + 3
    shared = [sum(other is base for other in bases) for base in bases if base is not None]
    assert max(shared) <= TOGETHER


@pytest.mark.parametrize(
    "specs",
    [
        [],
        [FOUR, FOUR],
        [TensorSpec("", "float32", [1])],
        [TensorSpec("x", "float32", [0])],
        [TensorSpec("x", "float32", [1] * 8)],
        [TensorSpec("x", "text", [1])],
        [TensorSpec("x", "float32", [4], also=[[3]])],
        [TensorSpec("x", "float32", [None], also=[[3]])],
        [TensorSpec("x", "float32", [None]), TensorSpec("x_mask", "bool", [None])],
        [TensorSpec("x", "float32", minimum=2, maximum=1)],
        [TensorSpec("x", "uint8", minimum=300)],
        [TensorSpec("x", "int64", minimum=1e30)],
        [TensorSpec("x", "float32", [None], max_length=0)],
    ],
)
def test_a_signature_that_contradicts_itself_is_refused(specs: list[TensorSpec]) -> None:
    with pytest.raises(StreaminferError) as caught:
        InputReader(Signature(specs))
    assert caught.value.field == "signature"
