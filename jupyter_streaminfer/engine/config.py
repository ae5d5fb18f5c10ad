"""The engine's bounds: everything that could grow has one."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_streaminfer.workers import ModelBounds


@dataclass(frozen=True)
class EngineConfig(ModelBounds):
    """Limits and defaults of one engine and of each of its models; a script and the server's traits set these."""

    max_models: int = 16
    """Models loaded or loading at once."""
    max_streams: int = 1000
    """Streams kept, open and closed; the oldest closed one makes room for a new one."""
    stream_ttl_s: float = 3600.0
    """How long a closed stream can still be read."""
    grace_s: float = 30.0
    """How long a stream without consumers goes on, unless it is detached."""
