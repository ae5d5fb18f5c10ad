"""What the engine measures: counters, distributions over a sliding window, and their labels."""

from jupyter_streaminfer.engine.metrics.account import StreamAccount
from jupyter_streaminfer.engine.metrics.door import Door
from jupyter_streaminfer.engine.metrics.labels import legible
from jupyter_streaminfer.engine.metrics.meter import Meter
from jupyter_streaminfer.engine.metrics.series import Histogram, ModelKey, ModelSeries
from jupyter_streaminfer.engine.metrics.tally import Tally
from jupyter_streaminfer.engine.metrics.window import distribution

__all__ = ["Door", "Histogram", "Meter", "ModelKey", "ModelSeries", "StreamAccount", "Tally", "distribution", "legible"]
