"""What is wrong with an input's rows, said by the row: the slow path behind `column.py`'s decoders."""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import Any

import numpy as np
from msgspec import structs

from jupyter_streaminfer.protocol import MAX_PREDICT_ROWS, MAX_PROMPT_CHARACTERS, StreaminferError, TensorSpec

MAX_DEPTH = 8
"""Nested lists deeper than this are no model's input; their shape is not looked at further."""
KINDS: dict[str, tuple[set[type], str]] = {
    "float32": ({int, float}, "numbers only"),
    "float64": ({int, float}, "numbers only"),
    "int64": ({int}, "whole numbers only"),
    "int32": ({int}, "whole numbers only"),
    "uint8": ({int}, "whole numbers only"),
    "bool": ({bool}, "true and false only"),
    "text": ({int}, "a text, or token ids, which are whole numbers"),
}
"""What the numbers of each type are in Python, and what they are called."""
PRECISION = {"float32": "single", "float64": "double"}


def refuse_column(path: str, problem: str) -> StreaminferError:
    """The refusal of an input, of a row of it, or of all of them."""
    return StreaminferError("invalid_request", f"{path} {problem}", field="inputs")


def read_slowly(data: bytes, path: str) -> Any:
    """JSON as Python reads it: NaN, infinity and integers of any size, which msgspec refuses, are named later."""
    try:
        return json.loads(data)
    except RecursionError:
        raise refuse_column(path, "cannot be read: its lists are nested too deep") from None
    except ValueError as error:
        raise refuse_column(path, f"cannot be read: {error}") from None


def check_column(spec: TensorSpec, path: str, rows: Any) -> None:
    """Raise `StreaminferError` for the first row that does not fit the signature, if there is one."""
    if not isinstance(rows, list):
        raise refuse_column(path, f"must be a list of rows, found {_kind(rows)}")
    if not 1 <= len(rows) <= MAX_PREDICT_ROWS:
        raise refuse_column(path, f"must have 1 to {MAX_PREDICT_ROWS} rows, found {len(rows)}")
    for index, row in enumerate(rows):
        if problem := _problem(spec, row):
            raise refuse_column(f"row {index} of {path}", problem)


def limits(spec: TensorSpec) -> tuple[float, float]:
    """The least and the greatest number that an input may have; integers for one of whole numbers."""
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    match spec.dtype:
        case "float64" | "any" | "bool":
            return low, high
        case "float32":
            largest = float(np.finfo(np.float32).max)
            return max(low, -largest), min(high, largest)
        case "text":
            kind, low = np.iinfo(np.int64), max(low, 0)
        case _:
            kind = np.iinfo(spec.dtype)
    least, most = int(kind.min), int(kind.max)
    return math.ceil(low) if low > least else least, math.floor(high) if high < most else most


def shape_text(spec: TensorSpec) -> str:
    """The shapes that a row may have, for people."""
    longest = "" if spec.max_length is None else spec.max_length
    sizes = ", ".join(f"1..{longest}" if size is None else str(size) for size in spec.shape)
    return " or ".join([f"[{sizes}]", *map(str, spec.also)])


def fits_shape(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    """Whether a row may have this shape."""
    if list(shape) in spec.also:
        return True
    longest = math.inf if spec.max_length is None else spec.max_length
    return len(shape) == len(spec.shape) and all(
        1 <= size <= longest if wanted is None else size == wanted
        for size, wanted in zip(shape, spec.shape, strict=True)
    )


def range_text(spec: TensorSpec) -> str:
    """The numbers that an input may have, for people."""
    low, high = limits(spec)
    if spec.minimum is None and spec.maximum is None and spec.dtype in PRECISION:
        return f"finite numbers of {PRECISION[spec.dtype]} precision only"
    if math.isinf(high):
        return f"numbers from {low} only"
    return f"numbers up to {high} only" if math.isinf(low) else f"numbers from {low} to {high} only"


def _problem(spec: TensorSpec, row: Any) -> str | None:
    """What is wrong with a row."""
    if spec.dtype == "any":
        return None
    if spec.dtype == "text" and not isinstance(row, list):
        return _text_problem(row)
    shape = _shape(row)
    wanted, called = KINDS[spec.dtype]
    if spec.dtype == "text":
        spec = structs.replace(spec, shape=[None])
    if shape is None or not fits_shape(spec, shape):
        found = "lists of unequal lengths" if shape is None else f"shape {list(shape)}"
        return f"must have shape {shape_text(spec)}, found {found}"
    numbers: list[Any] = [row]
    for _ in shape:
        numbers = list(chain.from_iterable(numbers))
    if others := {type(number) for number in numbers} - wanted:
        return f"must hold {called}, found {', '.join(sorted(kind.__name__ for kind in others))}"
    low, high = limits(spec)
    return None if all(_fits(number, low, high) for number in numbers) else f"must hold {range_text(spec)}"


def _fits(number: float, low: float, high: float) -> bool:
    try:
        return low <= number <= high and math.isfinite(number)
    except OverflowError:
        return False  # an integer that is larger than any float


def _text_problem(row: Any) -> str | None:
    if not isinstance(row, str):
        return f"must be a text or a list of token ids, found {_kind(row)}"
    if len(row) > MAX_PROMPT_CHARACTERS:
        return f"must have at most {MAX_PROMPT_CHARACTERS} characters, found {len(row)}"
    return None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _shape(value: object) -> tuple[int, ...] | None:
    """The shape of nested lists; None when they are not rectangular."""
    shape: list[int] = []
    level: list[Any] = [value]
    while level and isinstance(level[0], list) and len(shape) < MAX_DEPTH:
        length = len(level[0])
        if not all(isinstance(item, list) and len(item) == length for item in level):
            return None
        shape.append(length)
        level = list(chain.from_iterable(level))
    return None if any(isinstance(item, list) for item in level) else tuple(shape)
