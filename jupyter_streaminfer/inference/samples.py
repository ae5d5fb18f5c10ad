"""Typical rows of a signature, to warm a model up with."""

from __future__ import annotations

import numpy as np

from jupyter_streaminfer.inference.column_check import limits
from jupyter_streaminfer.inference.rows import Column, Rows
from jupyter_streaminfer.protocol import Signature, TensorSpec

LENGTH = 8
"""How long what may vary is here, where it may be."""


def sample_rows(signature: Signature, count: int) -> Rows | None:
    """``count`` rows that fit the signature; None where it does not say enough: an input may be anything."""
    if any(spec.dtype == "any" for spec in signature.inputs):
        return None
    return Rows({spec.name: _column(spec, count) for spec in signature.inputs})


def _column(spec: TensorSpec, count: int) -> Column:
    if spec.dtype == "text":
        return ["a"] * count
    length = min(LENGTH, spec.max_length or LENGTH)
    shape = [length if size is None else size for size in spec.shape]
    low, high = limits(spec)
    array = np.full((count, *shape), min(max(0, low), high)).astype(spec.dtype)
    return list(array) if None in spec.shape else array
