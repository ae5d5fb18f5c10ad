"""Rows of numbers: as JSON's nested lists, or as a `Tensor`, whose bytes are smaller and need no parsing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from jupyter_streaminfer.protocol.signature import TensorDType

MAX_DIMENSIONS = 8


class Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers of all rows of one input."""

    dtype: TensorDType
    shape: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=MAX_DIMENSIONS)]
    """The first dimension counts rows."""
    data: bytes
    """In C order, little-endian; base64 in JSON."""


Column = list[Any] | Tensor
"""One input's rows."""
Inputs = Column | dict[str, Column]
"""What `Predict.inputs` is the JSON text of: the rows of a model's only input, or of each by its name."""


def encode_inputs(inputs: Any, enc_hook: Callable[[Any], Any] | None = None) -> Raw:
    """Inputs as `Predict` carries them: JSON text, which the model's worker reads by its signature."""
    return Raw(msgspec.json.encode(inputs, enc_hook=enc_hook))


def decode_outputs(outputs: Raw) -> list[Any]:
    """The rows of a `Result`, as plain lists, numbers, texts and dicts."""
    rows: list[Any] = msgspec.json.decode(outputs)
    return rows
