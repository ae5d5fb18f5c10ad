"""Samples of what the engine measures, as a frame: one row a second, flat columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

import msgspec

from jupyter_streaminfer.protocol import (
    ClientMetrics,
    Deadlines,
    Distribution,
    ErrorCode,
    Metrics,
    ModelMetrics,
    Oddity,
    StreaminferError,
)

if TYPE_CHECKING:
    import pandas as pd

_KEYS: dict[str, Sequence[str]] = {
    "errors": get_args(ErrorCode),
    "refused": get_args(ErrorCode),
    "deadlines": [name.removesuffix("_ms") for name in Deadlines.__struct_fields__],
    "loads": ("ready", "failed"),
    "flushes": ("full", "preferred", "timed"),
    "odd": get_args(Oddity),
}
"""The keys of counts by something, so that a frame has the same columns whether or not they occurred."""
_FIGURES = Distribution.__struct_fields__


def metrics_frame(samples: Sequence[Metrics], by: Literal["model", "client"] | None = None) -> pd.DataFrame:
    """One row a sample, or with ``by`` one for each of its models' versions or clients; indexed by ``at`` (UTC).

    A distribution has a column for each of its figures (``ttft_p50_ms``), a count by something one for each of these
    (``errors_overloaded``); ``alerts`` is how many fire.
    """
    import pandas as pd

    if by not in (None, "model", "client"):
        raise StreaminferError("invalid_request", f"by: model, client or None, not {by!r}.", field="by")
    rows: list[tuple[float, msgspec.Struct]]
    if by is None:
        rows = [(each.at, each) for each in samples]
    elif by == "model":
        rows = [(each.at, model) for each in samples for model in each.models]
    else:
        rows = [(each.at, client) for each in samples for client in each.clients]
    kind = {None: Metrics, "model": ModelMetrics, "client": ClientMetrics}[by]
    columns = _columns(kind)
    frame = pd.DataFrame([flat(struct) for _, struct in rows], columns=columns)
    counts = [f"{name}_{key}" for name, keys in _KEYS.items() for key in keys if f"{name}_{key}" in columns]
    frame = frame.fillna(dict.fromkeys(counts, 0)).astype(dict.fromkeys(counts, "int64"))
    frame.index = pd.to_datetime(pd.Series([at for at, _ in rows], dtype="float64"), unit="s", utc=True)
    frame.index.name = "at"
    return frame


def flat(struct: msgspec.Struct) -> dict[str, Any]:
    """The figures of a sample, or of a model or client in it, by their columns; what was not measured is NaN."""
    row: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        match value:
            case Distribution():
                row |= {_column(name, figure): getattr(value, figure) for figure in _FIGURES}
            case msgspec.Struct():
                row |= flat(value)
            case dict():
                row |= {f"{name}_{key}": count for key, count in value.items()}
            case list():
                row[name] = len(value)
            case None:
                row[name] = math.nan
            case _:
                row[name] = value
    return row


@cache
def _columns(kind: type[msgspec.Struct]) -> list[str]:
    """The names that a row of that struct has, in order; without the lists of models and clients, and the index."""
    columns: list[str] = []
    hints = get_type_hints(kind)
    for name in kind.__struct_fields__:
        types = get_args(hints[name]) or (hints[name],)
        inner = next((each for each in types if isinstance(each, type) and issubclass(each, msgspec.Struct)), None)
        if inner is Distribution:
            columns += [_column(name, figure) for figure in _FIGURES]
        elif name in _KEYS:
            columns += [f"{name}_{key}" for key in _KEYS[name]]
        elif name == "alerts" or (inner is None and name != "at"):
            columns.append(name)
        elif inner is not None and name not in ("models", "clients"):
            columns += _columns(inner)
    return columns


def _column(name: str, figure: str) -> str:
    """``ttft_ms`` and ``p50`` are ``ttft_p50_ms``; a count has no unit."""
    stem, unit, _ = name.partition("_ms")
    return f"{stem}_{figure}" if figure == "count" else f"{stem}_{figure}{unit}"
