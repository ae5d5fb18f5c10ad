"""Latency and throughput over time, with a mark where another version took over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_streaminfer.client.plots.style import COLOURS, DASHES, MAX_SERIES, label, new_figure, nothing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUANTILES = ("p50", "p95", "p99")
_PANELS = (("ttft", "TTFT (ms)"), ("itl", "ITL (ms)"), ("predict", "prediction (ms)"))


def over_time(frame: pd.DataFrame) -> Figure:
    """TTFT and ITL (p50, p95, p99 of the last minute) and tokens/s over time; predictions where there were any.

    ``frame``: as ``client.metrics.to_frame``, or with ``by="model"`` for a line each version, in which case p50 and
    p95 are shown. A mark says where a version began to answer, or else where one took over from another.
    """
    predicted = bool((frame["predict_count"] > 0).any())
    panels = [each for each in _PANELS if each[0] != "predict" or predicted]
    figure, axes = new_figure(len(panels) + 1, 1, height=1.75 * (len(panels) + 1), sharex=True)
    for panel, (name, title) in zip(axes, panels, strict=False):
        panel.set(ylabel=title)
        _times(panel, frame, name)
    axes[-1].set(ylabel="tokens/s", xlabel="time (UTC); quantiles are of the minute before")
    for place, (version, rows) in enumerate(_versions(frame)):
        axes[-1].plot(
            rows.index, rows["tokens_out_per_s"], color=COLOURS[place], linestyle=DASHES[place], label=version
        )
    for panel in axes:
        for at, text in _marks(frame):
            panel.axvline(at, color="0.35", linewidth=1.0, linestyle=(0, (1, 1)))
            if panel is axes[0]:
                panel.annotate(
                    text, (at, 1.0), xycoords=("data", "axes fraction"), xytext=(3, 2), textcoords="offset points",
                    fontsize="small", color="0.25",
                )  # fmt: skip
        panel.set_ylim(bottom=0)
        if len(panel.get_legend_handles_labels()[1]) > (panel is axes[-1]):
            panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
    if frame.empty:
        nothing(axes[-1], "nothing measured")
        axes[-1].set(xticks=[], yticks=[])
    else:
        _clock(axes[-1], frame)
    figure.align_ylabels()
    return figure


def _times(panel: Axes, frame: pd.DataFrame, name: str) -> None:
    versions = _versions(frame)
    if not frame[f"{name}_count"].gt(0).any():
        nothing(panel, "nothing measured")
        panel.set_yticks([])
    elif "version" not in frame.columns:
        for place, quantile in enumerate(_QUANTILES):
            times = frame[f"{name}_{quantile}_ms"]
            panel.plot(times.index, times, color=COLOURS[place], linestyle=DASHES[place], label=quantile)
    else:
        for place, (version, rows) in enumerate(versions):
            for quantile, width in (("p50", 1.8), ("p95", 0.9)):
                times = rows[f"{name}_{quantile}_ms"]
                text = f"{version} {quantile}".strip()
                panel.plot(
                    times.index, times, color=COLOURS[place], linestyle=DASHES[place], linewidth=width, label=text
                )


def _versions(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """What is told apart, each with its rows, in the order in which they came; the latest where they are too many.

    A version has a row each second for each way that requests came to it; the one with the most requests stands for
    it, so that a line is one line.
    """
    if "version" not in frame.columns:
        return [("", frame)]
    groups = [
        (label(f"{version} {arm}".strip()), rows)
        for (version, arm), rows in frame.groupby(["version", "arm"], sort=False)
        if rows["requests"].max() > 0
    ]
    return groups[-MAX_SERIES:]


def _marks(frame: pd.DataFrame) -> list[tuple[pd.Timestamp, str]]:
    """When a version's first request came, but for those that had some from the beginning, or the swaps."""
    if frame.empty:
        return []
    if "version" not in frame.columns:
        swapped = frame["swaps"].diff().fillna(0) > 0
        return [(at, "swap") for at in frame.index[swapped]]
    answering = frame[frame["requests"] > 0]
    firsts = {version: rows.index.min() for version, rows in answering.groupby("version", sort=False)}
    begin = frame.index.min()
    return [(at, f"version {label(version)}") for version, at in firsts.items() if at > begin]


def _clock(panel: Axes, frame: pd.DataFrame) -> None:
    """Hours, minutes and seconds, as many of them as fit; ten seconds at least."""
    import pandas as pd
    from matplotlib.dates import AutoDateLocator, DateFormatter

    first, last = frame.index.min(), frame.index.max()
    if last - first < pd.Timedelta(seconds=10):
        panel.set_xlim(last - pd.Timedelta(seconds=10), last + pd.Timedelta(seconds=1))
    panel.xaxis.set_major_locator(AutoDateLocator(maxticks=8))  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))  # type: ignore[no-untyped-call]
