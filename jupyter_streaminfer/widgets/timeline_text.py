"""What a saved notebook keeps of a timeline: a row for each stream."""

from __future__ import annotations

import html
from collections.abc import Sequence

from jupyter_streaminfer.widgets.track import Row

MAX_ROWS = 200
HEAD = ("stream", "model", "state", "queue ms", "TTFT ms", "tokens", "ITL ms, mean", "ITL ms, worst", "all ms")


def as_text(rows: Sequence[Row]) -> str:
    """Columns in lines."""
    cells = [HEAD, *_cells(rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([*lines, *_left_out(rows)])


def as_html(rows: Sequence[Row]) -> str:
    """A table, without script; names of models are escaped."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in HEAD)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in _cells(rows))
    notes = "".join(f"<p>{note}</p>" for note in _left_out(rows))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def _cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return [
        (
            row.id,
            row.model,
            row.state,
            _ms(row.queue_ms),
            _ms(row.ttft_ms),
            f"{row.tokens}",
            _ms(row.itl_mean_ms),
            _ms(row.itl_max_ms),
            _ms(row.duration_ms),
        )
        for row in rows[:MAX_ROWS]
    ]


def _left_out(rows: Sequence[Row]) -> list[str]:
    beyond = len(rows) - MAX_ROWS
    return [f"{beyond} more streams are not listed."] if beyond > 0 else []


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
