"""Models and routes as a notebook shows them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_streaminfer.protocol import ArmStatus, Interval, ModelStatus, RouteStatus

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MIB = 2**20


class ModelTable(list[ModelStatus]):
    """Versions of models: a list, and a table in a notebook."""

    def to_frame(self) -> pd.DataFrame:
        """One row a version: ``name``, ``version``, ``latest``, ``state``, ``task``, ``device``, ``memory_mib``,
        ``active``, ``requests``, ``age_s``, ``idle_s``.
        """
        import pandas as pd

        return pd.DataFrame([_facts(model) for model in self], columns=list(_COLUMNS))

    def _repr_html_(self) -> str:
        rows = [[_text(value) for value in _facts(model).values()] for model in self]
        return table("", list(_COLUMNS), rows)


class RouteReport(RouteStatus, frozen=True):
    """How a model's requests are split, and the figures of each version: text, a table, a frame."""

    @classmethod
    def of(cls, status: RouteStatus) -> RouteReport:
        """The same, to be shown."""
        return cls(**{name: getattr(status, name) for name in RouteStatus.__struct_fields__})

    def to_frame(self) -> pd.DataFrame:
        """One row a version, shadow excepted; each figure with the ends of its 95 % interval beside it.

        Columns: ``version``, ``role``, ``weight``, ``requests``, ``errors``, ``refused``, and ``share``,
        ``error_rate`` and ``latency_ms``, each with ``_low`` and ``_high``, ``latency_p50_ms``, ``latency_p95_ms``.
        """
        import pandas as pd

        rows = []
        for arm in self.arms:
            row: dict[str, Any] = {}
            for name, value in msgspec.structs.asdict(arm).items():
                if name in _INTERVALS:
                    interval = value or Interval(float("nan"), float("nan"), float("nan"))
                    row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
                else:
                    row[name] = float("nan") if value is None else value
            rows.append(row)
        return pd.DataFrame(rows, columns=_ARM_COLUMNS)

    def plot(self) -> Figure:
        """Latency, errors and share of each version with their 95 % intervals, as a matplotlib figure."""
        from jupyter_streaminfer.client import plots

        return plots.arms(self.to_frame())

    def __repr__(self) -> str:
        rows = self._rows()
        lines = [f"{row[0]}: " + ", ".join(f"{name} {text}" for name, text in _named(row[1:]) if text) for row in rows]
        split = f"{len(rows)} version{'s' if len(rows) > 1 else ''}" if rows else "no split"
        return "\n".join([f"<Route: {split}>", *lines, *self._notes()])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        return table("", ["version", *_FIGURES], self._rows()) + notes

    def _rows(self) -> list[list[str]]:
        return [
            [
                arm.version if arm.role == "arm" else f"{arm.version} (canary)",
                f"{arm.weight:.0%}",
                f"{arm.requests:,}",
                "" if arm.share is None else _percent(arm.share),
                "" if arm.error_rate is None else _percent(arm.error_rate),
                "" if arm.latency_ms is None else f"{_interval(arm.latency_ms)} ms",
            ]
            for arm in self.arms
        ]

    def _notes(self) -> list[str]:
        notes = []
        if (shadow := self.shadow) is not None:
            alike = "" if shadow.agreement is None else f", {_percent(shadow.agreement)} alike"
            notes.append(
                f"Shadow {shadow.version}: {shadow.compared} rows compared{alike}, largest difference "
                f"{shadow.largest_difference:.3g}, {shadow.errors} errors, {shadow.dropped} dropped"
            )
        if self.waiting:
            notes.append(f"Not ready, so that others get their part: {', '.join(self.waiting)}")
        if self.rolled_back:
            notes.append(f"The canary was taken out: {self.rolled_back}")
        return notes


_COLUMNS = (
    "name", "version", "latest", "state", "task", "device", "memory_mib", "active", "requests", "age_s", "idle_s",
)  # fmt: skip
_FIGURES = ("weight", "requests", "share", "errors", "latency")
_INTERVALS = ("share", "error_rate", "latency_ms")
_ARM_COLUMNS = [
    column
    for name in ArmStatus.__struct_fields__
    for column in ((name, f"{name}_low", f"{name}_high") if name in _INTERVALS else (name,))
]


def _facts(model: ModelStatus) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "latest": model.latest,
        "state": model.state,
        "task": model.info.task if model.info else "",
        "device": model.info.device if model.info else "",
        "memory_mib": round(model.memory_bytes / MIB, 1),
        "active": model.active,
        "requests": model.requests,
        "age_s": round(model.age_s, 1),
        "idle_s": round(model.idle_s, 1),
    }


def _named(figures: Sequence[str]) -> zip[tuple[str, str]]:
    return zip(_FIGURES, figures, strict=True)


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of texts, which are escaped."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _percent(interval: Interval) -> str:
    return f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def _interval(interval: Interval) -> str:
    return f"{interval.value:.1f} ({interval.low:.1f} to {interval.high:.1f})"
