"""How a training went, as a saved notebook keeps it. Times are left out: they differ from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from jupyter_streaminfer.client.status import table
from jupyter_streaminfer.widgets.progress_line import described, number
from jupyter_streaminfer.widgets.saved import preformatted

EPOCHS = 20
"""The last ones are kept."""

ByEpoch = Sequence[tuple[int, dict[str, float]]]


def as_text(summary: str, figures: ByEpoch, samples: Sequence[dict[str, Any]], error: str) -> str:
    """A line an epoch, then the samples."""
    lines = [f"epoch {epoch}: " + ", ".join(described(each)) for epoch, each in figures[-EPOCHS:]]
    lines += [f"epoch {each['epoch']}, {each['label'] or 'sample'}: {each['text']}" for each in samples]
    return "\n".join([summary, *lines, *([error] if error else [])])


def as_html(summary: str, figures: ByEpoch, samples: Sequence[dict[str, Any]], error: str) -> str:
    """A table of the epochs, then the samples, escaped."""
    names = list(dict.fromkeys(name for _, each in figures for name in each))
    cells = [
        [str(epoch), *(number(each[name]) if name in each else "" for name in names)]
        for epoch, each in figures[-EPOCHS:]
    ]
    parts = [table(summary, ["epoch", *names], cells)]
    for each in samples:
        label = escape(each["label"])
        parts += [f"<p>epoch {each['epoch']} {label}</p>", preformatted(each["text"])]
    return "".join([*parts, *([f"<p><em>{escape(error)}</em></p>"] if error else [])])
