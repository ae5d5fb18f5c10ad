"""What decides: admission, routing, the models and the streams. It runs in a plain script."""

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.cursor import Cursor
from jupyter_streaminfer.engine.engine import Engine
from jupyter_streaminfer.engine.question import Answer, Pending
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.workers import ModelBounds

__all__ = ["Answer", "Cursor", "Engine", "EngineConfig", "ModelBounds", "Pending", "Stream"]
