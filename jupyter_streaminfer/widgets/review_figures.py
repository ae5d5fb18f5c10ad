"""What an operator decided, and how far a review is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Literal

import msgspec

from jupyter_streaminfer.client.status import table


class Decision(msgspec.Struct, frozen=True):
    """What an operator said of one row."""

    row: int
    prediction: str
    confidence: float
    decision: Literal["confirmed", "overridden"]
    label: str
    seconds: float
    """From when it came on the page until it was decided, all its visits together."""


class Figures(msgspec.Struct, frozen=True):
    """How far a review is. The TypeScript twin is ``IFigures`` in ``labextension/src/review/desk.ts``."""

    total: int
    predicted: int
    failed: int
    """Rows without a prediction, as the model refused them."""
    judged: int
    confirmed: int
    skipped: int
    """Open, and put off to the end."""
    agreement: float | None
    """Confirmed of judged; None before the first."""
    accuracy: float | None
    """Of the operator's labels that equal the reference's; None before the first that has one."""
    before: float | None
    """The same of the labels before the review, where the reference is the true ones."""
    reference: Literal["true", "baseline", "predictions"]

    def summary(self, model: str) -> str:
        """In one line."""
        if not self.judged:
            return f"Review of {model}: none of {self.total} rows judged"
        parts = [f"{self.judged} of {self.total} rows judged, {self.confirmed} confirmed"]
        parts.append(f"agreement {self.agreement:.0%}")
        if self.accuracy is not None and self.reference == "true":
            parts.append(f"accuracy {self.accuracy:.0%} (before: {self.before:.0%})")
        elif self.accuracy is not None and self.reference == "baseline":
            parts.append(f"equal to the baseline {self.accuracy:.0%}")
        return f"Review of {model}: " + ", ".join(parts)


def as_text(summary: str, decisions: Sequence[Decision], name: Callable[[int], str]) -> str:
    """Summary and decisions; ``name``: what a row is called."""
    lines = [
        f"{name(each.row)}: {each.prediction} ({each.confidence:.0%}) {each.decision}"
        + (f" as {each.label}" if each.decision == "overridden" else "")
        for each in decisions
    ]
    return "\n".join([summary, *lines])


def as_html(summary: str, decisions: Sequence[Decision], name: Callable[[int], str]) -> str:
    """The same, escaped, as a table."""
    if not decisions:
        return f"<p>{escape(summary)}</p>"
    columns = ["row", "prediction", "confidence", "decision", "label"]
    cells = [
        [name(each.row), each.prediction, f"{each.confidence:.0%}", each.decision, each.label] for each in decisions
    ]
    return table(summary, columns, cells)
