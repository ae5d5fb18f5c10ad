"""Rows on their way out: arrays as `Tensor`, everything else as JSON, in the form that a model's signature has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from jupyter_streaminfer.client import tables
from jupyter_streaminfer.client.encoding import plain
from jupyter_streaminfer.protocol import (
    MAX_MESSAGE_BYTES,
    Column,
    Inputs,
    Signature,
    StreaminferError,
    Tensor,
    TensorDType,
    TensorSpec,
    encode_inputs,
)

_DTYPES = frozenset(get_args(TensorDType))


def encoded(inputs: Any, signature: Signature | None = None, *, single: bool = True) -> msgspec.Raw:
    """A prediction's inputs as `Predict` carries them.

    Takes arrays, tensors, frames (one row each), texts, sequences of rows, and an object of columns by their names.
    ``single``: one plain row (``[features]``, or one text) is one row. Without a ``signature`` everything goes as
    lists, for then nobody knows what dtype is wanted.
    Raises `StreaminferError` for what is no rows, or more of them than one request may bring.
    """
    try:
        text = encode_inputs(_formed(inputs, signature.inputs if signature else [], single), plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refused(f"inputs cannot be written as JSON: {error}") from None
    if (size := len(bytes(text))) > MAX_MESSAGE_BYTES:
        raise StreaminferError(
            "too_large",
            f"inputs are {size} bytes of JSON; one request may bring {MAX_MESSAGE_BYTES}. client.predict_stream sends "
            "them in parts.",
            field="inputs",
        )
    return text


def needs_signature(inputs: Any) -> bool:
    """Whether the form that the inputs are sent in depends on what the model takes."""
    if isinstance(inputs, list | tuple):
        first = inputs[0] if inputs else None
        return not isinstance(first, str | list | tuple) or (len(first) > 0 and _is_array(first[0]))
    return not isinstance(inputs, str)


def _formed(inputs: Any, specs: list[TensorSpec], single: bool) -> Inputs:
    named = {spec.name: spec for spec in specs}
    if tables.is_frame(inputs):
        inputs = tables.columns(inputs, specs)
    elif isinstance(inputs, str) and single:
        inputs = [inputs]
    if isinstance(inputs, list | tuple) and len(specs) > 1 and inputs and isinstance(inputs[0], Mapping):
        inputs = _by_name(inputs)
    if isinstance(inputs, Mapping):
        return {str(name): _column(values, named.get(name), False) for name, values in inputs.items()}
    return _column(inputs, specs[0] if len(specs) == 1 else None, single)


def _column(values: Any, spec: TensorSpec | None, single: bool) -> Column:
    """One input's rows."""
    if isinstance(values, list | tuple):
        if single and values and isinstance(values[0], int | float | np.number) and _has_dimensions(spec):
            return [list(values)]
        stacked = _stacked(values) if spec is not None else None
        return list(values) if stacked is None else _tensor(stacked, spec)
    try:
        found = values if isinstance(values, np.ndarray) else as_array(values)
    except TypeError:
        found = np.zeros(())
    if found.ndim == 0:
        raise _refused(
            f"inputs: a {type(values).__name__} is no rows. Give an array, a tensor, a frame, a list of rows, or an "
            "object of columns by their names."
        )
    if found.ndim == 1 and single and found.dtype != object and found.dtype.kind != "U" and _has_dimensions(spec):
        found = found[None]
    return found.tolist() if spec is None else _tensor(found, spec)


def _tensor(array: NDArray[Any], spec: TensorSpec | None) -> Column:
    """The array as a `Tensor` of the dtype that is wanted, where it has its numbers; otherwise as lists."""
    if spec is not None:
        array = _fitted(array, spec.dtype)
    if array.dtype.name not in _DTYPES or array.ndim == 0:
        rows: list[Any] = array.tolist()
        return rows
    data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    return Tensor(array.dtype.name, list(array.shape), data)  # type: ignore[arg-type]


def _fitted(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The array in ``dtype``, where that changes no number but by rounding; otherwise as it is, to be refused."""
    if dtype not in _DTYPES or array.dtype.name == dtype or array.dtype.kind not in "biuf":
        return array
    wanted = np.dtype(dtype)
    if wanted.kind == "b" or (wanted.kind in "iu" and array.dtype.kind == "f"):
        return array
    with np.errstate(over="ignore"):
        cast = array.astype(wanted)
    same = np.isfinite(cast) == np.isfinite(array) if wanted.kind == "f" else cast == array
    return cast if bool(same.all()) else array


def _stacked(rows: Sequence[Any]) -> NDArray[Any] | None:
    """Arrays of one shape and kind as one; None where they are not."""
    if not rows or not _is_array(rows[0]):
        return None
    arrays = [as_array(row) if _is_array(row) else np.zeros(0) for row in rows]
    if len({(array.shape, array.dtype) for array in arrays}) > 1:
        return None
    return np.stack(arrays)


def as_array(value: Any) -> NDArray[Any]:
    """A tensor, series or array-like of any library as a numpy array; raises TypeError where there is no such thing."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # numpy has no bfloat16.
        value = value.float() if "bfloat16" in str(value.dtype) else value
        found: NDArray[Any] = value.numpy()
        return found
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if not hasattr(value, "__array__"):
        raise TypeError(f"a {type(value).__name__} is not numbers or text")
    return np.asarray(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") or hasattr(value, "detach")


def _has_dimensions(spec: TensorSpec | None) -> bool:
    """Whether a row is more than one number: then a plain list of numbers is one row, and otherwise many."""
    return spec is None or spec.dtype == "text" or bool(spec.shape)


def _by_name(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows that are objects as columns."""
    names = rows[0].keys()
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping) or row.keys() != names:
            found = sorted(row) if isinstance(row, Mapping) else type(row).__name__
            raise _refused(f"inputs: row {index} of inputs must have {sorted(names)} as the first has, found {found}.")
    return {name: [row[name] for row in rows] for name in names}


def _refused(message: str) -> StreaminferError:
    return StreaminferError("invalid_request", message, field="inputs")
