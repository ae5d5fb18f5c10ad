"""What a model that predicts takes and gives: names, types, shapes, labels."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

TensorDType = Literal["float32", "float64", "int64", "int32", "uint8", "bool"]
InputDType = Literal["float32", "float64", "int64", "int32", "uint8", "bool", "text", "any"]
OutputKind = Literal["classes", "spans", "embedding", "tensors", "values"]


class TensorSpec(Struct, frozen=True, omit_defaults=True):
    """One input or output of a model, as one row has it: without the dimension of the batch."""

    name: str
    dtype: InputDType
    """``text``: a string, or its token ids, for a model with a tokenizer. ``any``: whatever JSON has."""
    shape: list[int | None] = []
    """None where rows may differ in length; such rows are padded and masked."""
    also: list[list[int]] = []
    """Other shapes that a row may come in: the same numbers in the same order."""
    minimum: float | None = None
    maximum: float | None = None
    """Bounds of its numbers, where there are any: a token id is below the vocabulary's size."""
    finite: bool = True
    """Whether NaN and infinity are refused, in a `Tensor`; JSON does not have them."""
    max_length: int | None = None
    """How long a dimension of None may be, or a text, in tokens."""


class Signature(Struct, frozen=True, omit_defaults=True):
    """What every request for predictions is checked against before it is queued."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec] = []
    """Empty where the model does not say."""
    kind: OutputKind = "values"
    """What stands for a row in `Result.outputs`. ``classes``: a `Prediction`. ``spans``: a list of `Span`.
    ``embedding``: a list of numbers. ``tensors``: nested lists of numbers, or an object of them by the output's name
    where there are several. ``values``: whatever JSON the model gives."""
    labels: list[str] = []
    """The classes, in the model's order."""
