"""The engine's bounds: everything that could grow has one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineConfig:
    """Limits and defaults of one engine; the server's traits and a script set the same fields."""

    max_models: int = 16
    """Models loaded or loading at once."""
    max_streams: int = 1000
    """Streams kept, open and closed; the oldest closed one makes room for a new one."""
    stream_ttl_s: float = 3600.0
    """How long a closed stream can still be read."""
    grace_s: float = 30.0
    """How long a stream without consumers goes on, unless it is detached."""
    max_batch_size: int = 32
    """Sequences or rows that a model computes together at most."""
    max_wait_ms: float = 2.0
    """How long a prediction waits for company."""
    max_queue: int = 1024
    """Jobs that wait for one model at most."""
    step_tokens: int = 1024
    """Prompt and new tokens that one step computes at most."""
    cache_bytes: int = 512 * 2**20
    """One model's KV cache."""
    threads: int = 0
    """Computing threads per model; 0: all cores but one, which is left to the event loop."""
