"""A stream as a picture: when its tokens came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_streaminfer.client.timings import Percentiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE = "#0072B2"
ORANGE = "#D55E00"
"""Two of Okabe and Ito's colours, which people with any colour vision tell apart."""


def plot(at_ms: list[float], title: str) -> Figure:
    """Tokens over time above, and the time between tokens below, with its median and 99th percentile."""
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 4.5), layout="constrained")
    above.step(at_ms, np.arange(1, len(at_ms) + 1), where="post", color=BLUE)
    above.set(title=title, xlabel="ms since the request", ylabel="tokens", ylim=(0, None))
    gaps = np.diff(at_ms)
    below.plot(np.arange(2, len(at_ms) + 1), gaps, ".", color=BLUE)
    if (percentiles := Percentiles.of(gaps)) is not None:
        below.axhline(percentiles.p50, color=ORANGE, linestyle="-", label=f"p50 {percentiles.p50:.1f} ms")
        below.axhline(percentiles.p99, color=ORANGE, linestyle="--", label=f"p99 {percentiles.p99:.1f} ms")
        below.legend(loc="upper right")
    below.set(xlabel="token", ylabel="ms since the one before", ylim=(0, None))
    # Closed for pyplot only, or a notebook would show the figure twice.
    plt.close(figure)
    return figure
