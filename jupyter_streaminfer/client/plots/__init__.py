"""Plots to publish as they come (matplotlib): each is a function of a frame, and returns a figure.

`ClientStream.plot`, ``client.metrics.plot``, ``client.streams.plot``, `RouteReport.plot` and `LoadTest.plot` draw
what their own ``to_frame`` has.
"""

from jupyter_streaminfer.client.plots.arms import arms
from jupyter_streaminfer.client.plots.distributions import distributions
from jupyter_streaminfer.client.plots.load import against_load
from jupyter_streaminfer.client.plots.over_time import over_time
from jupyter_streaminfer.client.plots.timeline import timeline

__all__ = ["against_load", "arms", "distributions", "over_time", "timeline"]
