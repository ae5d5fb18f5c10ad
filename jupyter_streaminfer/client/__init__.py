"""What a notebook imports: `connect()`, and the same calls against a server or an engine in this process."""

from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.connect import connect
from jupyter_streaminfer.client.errors import ConnectionLostError, NoServerError, NotAuthorizedError
from jupyter_streaminfer.client.predict_stream import PredictStream, RowError
from jupyter_streaminfer.client.predictions import Predictions
from jupyter_streaminfer.client.status import ModelTable, RouteReport
from jupyter_streaminfer.client.stream import ClientStream
from jupyter_streaminfer.client.timings import StreamTimings
from jupyter_streaminfer.protocol import Deadlines

__all__ = [
    "Client",
    "ClientStream",
    "ConnectionLostError",
    "Deadlines",
    "ModelTable",
    "NoServerError",
    "NotAuthorizedError",
    "PredictStream",
    "Predictions",
    "RouteReport",
    "RowError",
    "StreamTimings",
    "connect",
]
