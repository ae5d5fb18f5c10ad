"""Latency against load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_streaminfer.client.plots.style import COLOURS, DASHES, MARKERS, new_figure, nothing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUANTILES = ("p50", "p95", "p99")


def against_load(frame: pd.DataFrame) -> Figure:
    """TTFT, ITL (p50, p95, p99) and tokens/s, against the number of requests that are open at once.

    ``frame``: as ``client.metrics.to_frame``, or `LoadTest.to_frame`; of rows with the same ``open`` the median is
    drawn as a line, and each row as a small dot.
    """
    figure, axes = new_figure(1, 3, width=10.0, height=3.4)
    busy = frame[frame["open"] > 0]
    for panel, (name, title) in zip(axes, (("ttft", "TTFT (ms)"), ("itl", "ITL (ms)")), strict=False):
        panel.set(ylabel=title)
        for place, quantile in enumerate(_QUANTILES):
            _line(panel, busy, f"{name}_{quantile}_ms", place, quantile)
    axes[2].set(ylabel="tokens/s")
    _line(axes[2], busy, "tokens_out_per_s", 0, "")
    for panel in axes:
        panel.set(xlabel="open requests", xlim=(0, None), ylim=(0, None))
        panel.xaxis.get_major_locator().set_params(integer=True)
        if not panel.lines:
            nothing(panel, "nothing measured")
        elif panel is not axes[2]:
            panel.legend(fontsize="small")
    return figure


def _line(panel: Axes, frame: pd.DataFrame, column: str, place: int, label: str) -> None:
    found = frame[["open", column]].dropna()
    if found.empty:
        return
    medians = found.groupby("open")[column].median()
    style: dict[str, Any] = {"color": COLOURS[place], "marker": MARKERS[place]}
    if len(found) > len(medians):
        panel.plot(found["open"], found[column], linestyle="", markersize=2.5, alpha=0.25, **style)
    panel.plot(medians.index, medians, linestyle=DASHES[place], markersize=5, label=label or None, **style)
