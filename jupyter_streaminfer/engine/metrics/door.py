"""The engine's door: a request that is refused there is counted, too."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from jupyter_streaminfer.protocol import StreaminferError

if TYPE_CHECKING:
    from jupyter_streaminfer.engine.metrics.meter import Meter
    from jupyter_streaminfer.engine.model import Model


class Door:
    """Counts the `StreaminferError` that what is done within it ends with, if any."""

    def __init__(self, meter: Meter, client: str) -> None:
        self.client = client
        """Whose the request is."""
        self.arm = ""
        self._meter = meter
        self._model: Model | None = None

    def lead(self, model: Model, arm: str = "") -> None:
        """The request is for that version."""
        self._model, self.arm = model, arm

    def __enter__(self) -> Door:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, StreaminferError):
            self._meter.refused(self._model, self.arm, self.client, error.code)
