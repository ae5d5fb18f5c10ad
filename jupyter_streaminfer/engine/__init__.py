"""What decides: admission, routing, the models and the streams. It runs in a plain script."""

from jupyter_streaminfer.engine.alerts import checked_rules
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.cursor import Cursor
from jupyter_streaminfer.engine.engine import Engine
from jupyter_streaminfer.engine.metrics import Histogram
from jupyter_streaminfer.engine.question import Answer, Pending
from jupyter_streaminfer.engine.sampler import INTERVAL_S, Tick
from jupyter_streaminfer.engine.sketch import BUCKET_BOUNDS
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.engine.stream_task import CancelReason
from jupyter_streaminfer.workers import ModelBounds

__all__ = [
    "BUCKET_BOUNDS",
    "INTERVAL_S",
    "Answer",
    "CancelReason",
    "Cursor",
    "Engine",
    "EngineConfig",
    "Histogram",
    "ModelBounds",
    "Pending",
    "Stream",
    "Tick",
    "checked_rules",
]
