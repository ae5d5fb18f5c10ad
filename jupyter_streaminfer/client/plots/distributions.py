"""How times to the first token and between tokens are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_streaminfer.client.plots.style import MAX_SERIES, label, new_figure, nothing, series
from jupyter_streaminfer.protocol import StreaminferError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_MARKS = ((50, "o"), (95, "s"), (99, "^"))
"""Percentiles, and how they are marked."""
_TAIL = 2.0
"""Times that many times longer than every 99th percentile are outside the picture, which says how many they are."""


def distributions(frame: pd.DataFrame, *, by: str = "model") -> Figure:
    """The parts of the streams whose TTFT, and of the tokens whose ITL, was at most so long; p50, p95, p99 marked.

    ``frame``: as ``client.streams.to_frame``, with ``ttft_ms`` and ``itl_ms``, or ``itl_mean_ms`` for one mean a
    stream. ``by``: the column that tells apart what is compared; of more than six values the most frequent are shown.
    """
    if by not in frame.columns:
        raise StreaminferError(
            "invalid_request", f"by: no column {by!r}; there are {', '.join(frame.columns)}.", field="by"
        )
    names = frame[by].value_counts(sort=True).index[:MAX_SERIES].sort_values()
    each_token = "itl_ms" in frame.columns
    figure, (left, right) = new_figure(1, 2, width=9.0, height=3.3 + 0.18 * len(names), sharey=True)
    for axes, column in ((left, "ttft_ms"), (right, "itl_ms" if each_token else "itl_mean_ms")):
        times = {name: np.sort(frame.loc[frame[by] == name, column].dropna().to_numpy(float)) for name in names}
        _draw(axes, {name: found for name, found in times.items() if len(found)}, by)
    left.set(xlabel="time to first token (ms)", ylabel="part of the streams")
    if each_token:
        right.set(xlabel="time between tokens (ms)", ylabel="part of the tokens")
    else:
        right.set(xlabel="mean time between the tokens of a stream (ms)", ylabel="part of the streams")
    right.yaxis.set_tick_params(labelleft=True)
    return figure


def _draw(axes: Axes, times: dict[object, NDArray[np.float64]], by: str) -> None:
    axes.set(ylim=(0, 1.02))
    if not times:
        nothing(axes, "nothing measured")
        return
    longest = 0.0
    for number, (name, found) in enumerate(times.items()):
        style = series(number)
        part = np.arange(1, len(found) + 1) / len(found)
        percentiles = np.percentile(found, [percent for percent, _ in _MARKS], method="inverted_cdf")
        figures = ", ".join(f"{value:.3g}" for value in percentiles)
        axes.step(np.r_[0.0, found], np.r_[0.0, part], where="post", label=f"{label(name)}: {figures} ms", **style)
        for (percent, marker), value in zip(_MARKS, percentiles, strict=True):
            axes.plot(value, percent / 100, marker, color=style["color"], markersize=6, markeredgecolor="white")
        longest = max(longest, float(percentiles[-1]))
    everything = np.concatenate(list(times.values()))
    end = min(float(everything.max()), _TAIL * longest) * 1.04 or 1.0
    axes.set(xlim=(0, end))
    title = f"{label(by)}: p50, p95, p99"
    if beyond := int((everything > end).sum()):
        title += f"; {beyond:,} of {len(everything):,} longer"
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "frameon": False}
    axes.legend(title=title, fontsize="small", title_fontsize="small", **below)
