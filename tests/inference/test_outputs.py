"""From what a model gives to the JSON text of each row's answer."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from jupyter_streaminfer.inference.outputs import NOT_FINITE, OutputWriter
from jupyter_streaminfer.protocol import ErrorInfo, Signature, Span, StreaminferError, TensorSpec

INPUTS = [TensorSpec("x", "float32", [1])]
CLASSES = Signature(INPUTS, kind="classes", labels=["no", "yes", "perhaps"])
TENSORS = Signature(INPUTS, kind="tensors")
NAN = float("nan")


def write(outputs: Any, signature: Signature = TENSORS, count: int = 2) -> list[Any]:
    """The answers as Python has them, and the errors."""
    answers = OutputWriter(signature).write(outputs, count)
    return [answer if isinstance(answer, ErrorInfo) else msgspec.json.decode(answer) for answer in answers]


def test_classes_are_sorted() -> None:
    first, second = write(torch.tensor([[0.25, 0.5, 0.125], [1.0, 0.0, 0.5]]), CLASSES)
    assert first == {
        "label": "yes",
        "confidence": 0.5,
        "scores": [
            {"label": "yes", "confidence": 0.5},
            {"label": "no", "confidence": 0.25},
            {"label": "perhaps", "confidence": 0.125},
        ],
    }
    assert [score["label"] for score in second["scores"]] == ["no", "perhaps", "yes"]


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (torch.tensor([[1.5, 2.0], [3.0, 4.0]]), [[1.5, 2.0], [3.0, 4.0]]),
        (torch.tensor([1.5, 2.0], dtype=torch.bfloat16), [1.5, 2.0]),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.tensor([True, False]), [True, False]),
        ({"only": torch.tensor([1, 2])}, [1, 2]),
        ({"a": torch.tensor([1, 2]), "b": torch.tensor([[3], [4]])}, [{"a": 1, "b": [3]}, {"a": 2, "b": [4]}]),
        ([np.float32(1.5), None], [1.5, None]),
        ((np.array([1, 2]), torch.tensor([3.0])), [[1, 2], [3.0]]),
        ([{"a": [None, "b"]}, Span(0, 1, "a", "LOC", 0.5)], [
            {"a": [None, "b"]},
            {"start": 0, "end": 1, "text": "a", "label": "LOC", "confidence": 0.5},
        ]),
    ],
)  # fmt: skip
def test_every_form(outputs: Any, expected: list[Any]) -> None:
    assert write(outputs) == expected


@pytest.mark.parametrize(
    "outputs",
    [
        torch.tensor([[1.0, 2.0], [NAN, 0.0]]),
        torch.tensor([[1.0, 2.0], [float("inf"), -float("inf")]]),
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([1.0, NAN])},
        [1.0, NAN],
        [None, {"a": [None, NAN]}],
        [[None], np.array([1.0, NAN])],
        [None, Span(0, 1, "a", "LOC", NAN)],
    ],
)
def test_what_is_not_finite_is_an_error_of_that_row(outputs: Any) -> None:
    first, second = write(outputs)
    assert not isinstance(first, ErrorInfo)
    assert second == NOT_FINITE


def test_numbers_whose_sum_overflows_are_finite() -> None:
    assert write(torch.full((2, 2), 3e38)) == [[pytest.approx(3e38)] * 2] * 2


def test_a_class_that_is_not_finite() -> None:
    assert write(torch.tensor([[NAN, 0.5, 0.5], [0.1, 0.2, 0.7]]), CLASSES)[0] == NOT_FINITE


def test_what_json_cannot_say_is_an_error_of_that_row() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (object(), loop, 1j):
        first, second = write([1, value])
        assert first == 1
        assert isinstance(second, ErrorInfo)
        assert second.code == "internal"


@pytest.mark.parametrize(
    "outputs", [torch.zeros(3), torch.tensor(1.0), {}, {"a": torch.zeros(1)}, [1], "ab", b"ab", None, 3, {1, 2}]
)
def test_what_is_not_an_answer_for_each_row_is_refused(outputs: Any) -> None:
    with pytest.raises(StreaminferError, match="not an answer for each row") as caught:
        write(outputs)
    assert caught.value.code == "internal"


def test_classes_without_their_labels_are_refused() -> None:
    with pytest.raises(StreaminferError, match="there are 3 labels"):
        write(torch.zeros(2, 2), CLASSES)
