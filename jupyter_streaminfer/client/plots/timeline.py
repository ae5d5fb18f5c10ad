"""A stream as a picture: when its tokens came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_streaminfer.client.plots.style import BLUE, VERMILION, label, new_figure
from jupyter_streaminfer.client.timings import Percentiles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def timeline(frame: pd.DataFrame, title: str = "") -> Figure:
    """Tokens over time above, and the time between tokens below, with its median and 99th percentile.

    ``frame``: as `ClientStream.to_frame`, of which ``at_ms`` is drawn.
    """
    at_ms = frame["at_ms"].to_numpy()
    figure, (above, below) = new_figure(2, 1, height=4.5)
    above.step(at_ms, np.arange(1, len(at_ms) + 1), where="post", color=BLUE)
    above.set(title=label(title), xlabel="time since the request (ms)", ylabel="tokens", xlim=(0, None), ylim=(0, None))
    gaps = np.diff(at_ms)
    below.plot(np.arange(2, len(at_ms) + 1), gaps, ".", color=BLUE)
    if (percentiles := Percentiles.of(gaps)) is not None:
        below.axhline(percentiles.p50, color=VERMILION, linestyle="-", label=f"p50 {percentiles.p50:.1f} ms")
        below.axhline(percentiles.p99, color=VERMILION, linestyle="--", label=f"p99 {percentiles.p99:.1f} ms")
        below.legend(loc="upper right")
    below.set(xlabel="token", ylabel="ITL (ms)", ylim=(0, None))
    figure.align_ylabels()
    return figure
