"""What is asked of a step loop: a job, or one of these."""

from __future__ import annotations

from msgspec import Struct

from jupyter_streaminfer.protocol import Job, ModelSettings


class CancelJob(Struct, frozen=True, tag=True):
    """See `Worker.cancel`."""

    job: str


class PauseJob(Struct, frozen=True, tag=True):
    """See `Worker.pause`."""

    job: str


class ResumeJob(Struct, frozen=True, tag=True):
    """See `Worker.resume`."""

    job: str


class Configure(Struct, frozen=True, tag=True):
    """See `Worker.configure`."""

    settings: ModelSettings


class Stop(Struct, frozen=True, tag=True):
    """Leave the loop before the next step."""


Command = Job | CancelJob | PauseJob | ResumeJob | Configure | Stop
