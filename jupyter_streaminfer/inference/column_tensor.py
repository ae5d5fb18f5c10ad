"""One input's rows as a `Tensor`: bytes that need no parsing, but the same checks as JSON's lists."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from jupyter_streaminfer.inference.column_check import fits_shape, limits, range_text, refuse_column, shape_text
from jupyter_streaminfer.inference.rows import Column
from jupyter_streaminfer.protocol import MAX_PREDICT_ROWS, Tensor, TensorSpec

PRECISE = ("float32", "float64")

_decode = msgspec.json.Decoder(Tensor).decode


def read_tensor(spec: TensorSpec, path: str, data: bytes) -> Column:
    """The rows of a `Tensor`'s JSON text, a list of arrays where their shapes may vary.

    Whole numbers do for floats and wider types for narrower ones, as far as each number fits, as they do in lists.
    """
    try:
        tensor = _decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise refuse_column(path, f"must be a list of rows or a tensor, which this is not: {error}") from None
    if spec.dtype in ("text", "any"):
        raise refuse_column(path, "must be a list of rows, found a tensor")
    count, *shape = tensor.shape
    if not 1 <= count <= MAX_PREDICT_ROWS:
        raise refuse_column(path, f"must have 1 to {MAX_PREDICT_ROWS} rows, found {count}")
    if not fits_shape(spec, tuple(shape)):
        raise refuse_column(f"row 0 of {path}", f"must have shape {shape_text(spec)}, found shape {shape}")
    dtype = np.dtype(tensor.dtype)
    expected = math.prod(tensor.shape) * dtype.itemsize
    if len(tensor.data) != expected:
        sizes = " x ".join(map(str, tensor.shape))
        raise refuse_column(
            path, f"must have {expected} bytes of data for {sizes} {tensor.dtype}, found {len(tensor.data)}"
        )
    if tensor.dtype == "bool":
        array = np.frombuffer(tensor.data, np.uint8) != 0
    else:
        array = np.frombuffer(tensor.data, dtype.newbyteorder("<"))
    array = _cast(spec, path, array.reshape(tensor.shape))
    return (
        list(array) if None in spec.shape else array.reshape(count, *(size for size in spec.shape if size is not None))
    )


def _cast(spec: TensorSpec, path: str, array: np.ndarray) -> np.ndarray:
    """The numbers in the input's own type, each of them checked."""
    if (spec.dtype == "bool") != (array.dtype == bool) or (spec.dtype not in PRECISE and array.dtype.kind == "f"):
        raise refuse_column(path, f"must be {spec.dtype}, or what can be written as such, found {array.dtype.name}")
    if spec.dtype == "bool":
        return array
    low, high = limits(spec)
    good = (array >= low) & (array <= high)
    if array.dtype.kind == "f":
        if not spec.finite:
            good |= ~np.isfinite(array)
        elif spec.dtype == "float64":
            good &= np.isfinite(array)
    if not good.all():
        row = int(good.reshape(len(array), -1).all(axis=1).argmin())
        raise refuse_column(f"row {row} of {path}", f"must hold {range_text(spec)}")
    return array.astype(spec.dtype, copy=False)
