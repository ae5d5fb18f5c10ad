"""The cells as one table, in Markdown."""

from __future__ import annotations

from typing import Any

COLUMNS = {
    "tokens/s": ("median", "tokens_per_second", "{:.0f}"),
    "ours/this": ("ours_over_this", "tokens_per_second", "{:.2f}"),
    "TTFT p50": ("median", "ttft_p50_ms", "{:.1f}"),
    "p99": ("median", "ttft_p99_ms", "{:.1f}"),
    "ITL p50": ("median", "itl_p50_ms", "{:.2f}"),
    "p99 ": ("median", "itl_p99_ms", "{:.2f}"),
    "peak RSS": ("memory", "peak_rss_mib", "{:.0f}"),
    "PSS": ("memory", "pss_mib", "{:.0f}"),
    "same tokens": ("median", "same_tokens", "{:.2f}"),
    "1st/2nd TTFT": ("median", "first_over_second", "{:.1f}"),
}
"""Heading: where its figure is in a subject's document, and its form."""


def table(cells: list[dict[str, Any]]) -> str:
    """Milliseconds and MiB; ``*``: in its own process, without a server and a client."""
    rows = [["model", "workload", "subject", *COLUMNS], ["---"] * 3 + ["---:"] * len(COLUMNS)]
    for cell in cells:
        for name, subject in cell["subjects"].items():
            shown = name if subject["served"] else f"{name} *"
            if "median" not in subject:
                shown += f" ({subject['error'][:60]})"
            rows.append([f"{cell['model']} {cell['dtype']}", cell["workload"], shown, *map(_value(subject), COLUMNS)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _value(subject: dict[str, Any]) -> Any:
    def value(column: str) -> str:
        part, name, form = COLUMNS[column]
        found = subject.get(part, {}).get(name)
        return "" if found is None else form.format(found)

    return value
