"""What a worker process and the server say to each other, in msgpack; types are checked on both sides."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from jupyter_streaminfer.protocol import ErrorInfo, JobEvent, LoadProgress, ModelInfo, ModelStats
from jupyter_streaminfer.workers.base import ModelSpec
from jupyter_streaminfer.workers.commands import Command


class Hello(Struct, frozen=True):
    """The first message to the process; commands follow once it is loaded."""

    spec: ModelSpec
    heartbeat_s: float


class Loading(Struct, frozen=True, tag=True):
    """How far the load is."""

    progress: LoadProgress


class Loaded(Struct, frozen=True, tag=True):
    """The model can answer."""

    info: ModelInfo


class Refused(Struct, frozen=True, tag=True):
    """The model cannot be loaded; the process ends."""

    error: ErrorInfo


class Events(Struct, frozen=True, tag=True):
    """What a step, or what was asked before it, brought."""

    events: list[JobEvent]
    stats: ModelStats | None


class Heartbeat(Struct, frozen=True, tag=True):
    """The process is there, from its start on, whatever it computes."""

    steps: int
    """How many steps have ended."""
    working: bool
    """Whether there is something to compute; then the steps ought to grow."""
    stats: ModelStats | None


class Broken(Struct, frozen=True, tag=True):
    """The step loop raised; the process ends."""

    message: str


Message = Loading | Loaded | Refused | Events | Heartbeat | Broken
"""From the process."""


def _encode(value: Any) -> bytes:
    if isinstance(value, Path):
        return os.fsencode(value)  # its name need not be UTF-8
    raise TypeError(f"{type(value).__name__} does not travel")


def _decode(kind: type, value: Any) -> Path:
    if kind is Path and isinstance(value, bytes):
        return Path(os.fsdecode(value))
    raise TypeError(f"{kind.__name__} does not travel")


encode = Encoder(enc_hook=_encode).encode
decode_hello = Decoder(Hello, dec_hook=_decode).decode
decode_command = Decoder(Command).decode
decode_message: Any = Decoder(Message).decode
