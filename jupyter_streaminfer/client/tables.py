"""Frames in and out: which columns a model gets, and which a table of its answers has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_streaminfer.protocol import Prediction, Span, StreaminferError, TensorSpec

if TYPE_CHECKING:
    import pandas as pd


def is_frame(value: Any) -> bool:
    """Whether it is a table, of pandas or of a library with the same names."""
    return hasattr(value, "columns") and hasattr(value, "to_numpy")


def columns(frame: Any, specs: Sequence[TensorSpec]) -> Any:
    """A frame's rows as a model with these inputs takes them, each a row of its own.

    For several inputs the columns of their names; for one input all columns together, or the only column where a row
    is one value or one text. Raises `StreaminferError` that names the columns that are missing or too many.
    """
    found = [str(name) for name in frame.columns]
    if len(specs) > 1:
        wanted = [spec.name for spec in specs]
        missing = [name for name in wanted if name not in found]
        unknown = [name for name in found if name not in wanted]
        if missing or unknown:
            raise StreaminferError(
                "invalid_request",
                f"inputs: the frame must have the columns {_names(wanted)}"
                + (f"; it lacks {_names(missing)}" if missing else "")
                + (f"; drop {_names(unknown)}" if unknown else "")
                + ".",
                field="inputs",
            )
        return {str(name): _values(frame[name]) for name in frame.columns}
    if len(found) == 1 and specs and (specs[0].dtype in ("text", "any") or not specs[0].shape):
        return _values(frame[frame.columns[0]])
    return frame.to_numpy()


def index_of(inputs: Any) -> pd.Index[Any] | None:
    """What names the rows of a pandas frame or series; None for everything else."""
    index = getattr(inputs, "index", None)
    return index if hasattr(index, "get_indexer") else None


def classes(outputs: Sequence[Prediction], index: pd.Index[Any] | None) -> pd.DataFrame:
    """One row each: ``label``, ``confidence``, and the probability of every class, named by it."""
    import pandas as pd

    chosen = pd.DataFrame(
        {"label": [each.label for each in outputs], "confidence": [each.confidence for each in outputs]}, index=index
    )
    scores = pd.DataFrame([{score.label: score.confidence for score in each.scores} for each in outputs], index=index)
    return pd.concat([chosen, scores[sorted(scores.columns)]], axis="columns")


def spans(outputs: Sequence[Sequence[Span]], index: pd.Index[Any] | None) -> pd.DataFrame:
    """One row a span: ``row`` (of the request, as its index names it), ``start``, ``end``, ``text``, ``label``,
    ``confidence``.
    """
    import pandas as pd

    names = range(len(outputs)) if index is None else index
    rows = [
        (name, span.start, span.end, span.text, span.label, span.confidence)
        for name, row in zip(names, outputs, strict=True)
        for span in row
    ]
    return pd.DataFrame(rows, columns=["row", "start", "end", "text", "label", "confidence"])


def arrays(named: Mapping[str, Sequence[Any]], index: pd.Index[Any] | None) -> pd.DataFrame:
    """One row each: a column for an output of one number, one for each number (``NAME_0`` ...) of a vector, and one
    of whole arrays for everything else.
    """
    import pandas as pd

    made: dict[str, Any] = {}
    for name, rows in named.items():
        if isinstance(rows, np.ndarray) and rows.ndim == 2:
            made |= {f"{name}_{place}": rows[:, place] for place in range(rows.shape[1])}
        else:
            made[name] = rows if isinstance(rows, np.ndarray) and rows.ndim == 1 else list(rows)
    return pd.DataFrame(made, index=index)


def values(outputs: Sequence[Any], index: pd.Index[Any] | None) -> pd.DataFrame:
    """One row each: a column for every key where all are objects, otherwise ``value``."""
    import pandas as pd

    if outputs and all(isinstance(each, dict) for each in outputs):
        return pd.DataFrame(list(outputs), index=index)
    return pd.DataFrame({"value": pd.Series(list(outputs), dtype=None if outputs else object)}).set_axis(
        pd.RangeIndex(len(outputs)) if index is None else index
    )


def _values(column: Any) -> Any:
    """A column as rows: an array of numbers, or a list, where what is missing is None."""
    found = column.to_numpy()
    if found.dtype != object:
        return found
    return [None if value is None or value != value else value for value in found] if _scalars(found) else list(found)


def _scalars(found: Any) -> bool:
    return not any(hasattr(value, "__len__") and not isinstance(value, str) for value in found)


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:16]) + (" ..." if len(names) > 16 else "")
