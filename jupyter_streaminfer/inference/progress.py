"""What a load says of how far it is."""

from __future__ import annotations

from typing import Protocol

from jupyter_streaminfer.protocol import LoadStage


class Progress(Protocol):
    """Called on the loading thread, as often as there is something new."""

    def __call__(self, stage: LoadStage, done_bytes: int = 0, total_bytes: int = 0) -> None:
        """The load is at that stage, and has so many bytes of it behind it; of 0 where it does not count."""


def silent(stage: LoadStage, done_bytes: int = 0, total_bytes: int = 0) -> None:
    """A `Progress` for loads that nobody watches."""
