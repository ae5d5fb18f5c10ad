"""The versions that a route splits requests between, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_streaminfer.client.plots.style import COLOURS, label, new_figure, nothing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo")
_PANELS = (("latency_ms", "mean latency (ms)", 1.0), ("error_rate", "errors (%)", 100.0), ("share", "share (%)", 100.0))


def arms(frame: pd.DataFrame) -> Figure:
    """Latency, error rate and share of each version, with their 95 % intervals.

    ``frame``: as `RouteReport.to_frame`. In the panel of the shares a line marks the weight that was asked for.
    """
    names = [
        f"version {label(version)}" + (" (canary)" if role == "canary" else "") + f"\n{requests:,} requests"
        for version, role, requests in zip(frame["version"], frame["role"], frame["requests"], strict=True)
    ]
    figure, axes = new_figure(1, len(_PANELS), width=9.0, height=max(2.2, 0.9 + 0.6 * len(names)), sharey=True)
    places = np.arange(len(names))
    for panel, (column, title, scale) in zip(axes, _PANELS, strict=True):
        panel.set(xlabel=title, yticks=places, yticklabels=names)
        panel.grid(False, axis="y")
        values, low, high = (scale * frame[f"{column}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        if np.isnan(values).all():
            nothing(panel, "nothing measured")
            continue
        for place in places:
            style = place % len(COLOURS)
            panel.barh(
                place, values[place], 0.6, color=COLOURS[style], alpha=0.55, hatch=_HATCHES[style], edgecolor="0.2"
            )
        panel.errorbar(
            values, places, xerr=[values - low, high - values], fmt="none", ecolor="black", capsize=4, linewidth=1.4
        )
        if column == "share":
            weights = scale * frame["weight"].to_numpy(float)
            panel.vlines(weights, places - 0.4, places + 0.4, colors="black", linestyles=":", label="as asked for")
            panel.legend(loc="lower right", fontsize="small")
        panel.set_xlim(left=0)
    axes[0].invert_yaxis()
    figure.suptitle("bars: estimates; whiskers: 95 % intervals", fontsize="small", color="0.35")
    return figure
