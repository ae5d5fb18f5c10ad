"""The engine's bounds: everything that could grow has one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_streaminfer.protocol import Placement
from jupyter_streaminfer.workers import ModelBounds


@dataclass(frozen=True)
class EngineConfig(ModelBounds):
    """Limits and defaults of one engine and of each of its models; a script and the server's traits set these."""

    max_models: int = 16
    """Names that models go by at once."""
    max_versions: int = 8
    """Versions of one name that are loaded or loading at once."""
    keep_versions: int = 0
    """Versions that were replaced and stay loaded beside the latest, for a rollback that takes no time."""
    max_models_bytes: int = 0
    """What all models together may take; idle ones make way for others, the least recently used first. 0: no limit."""
    idle_unload_s: float = 0.0
    """How long a model may be without requests until it is unloaded; the next request has it loaded again. 0: ever."""
    load_timeout_s: float = 600.0
    """How long one load may take."""
    placement: Placement = "auto"
    """Where models compute that do not say it themselves."""

    state_dir: str = ""
    """The folder of what is to outlive the engine: routes; empty: nothing does."""
    prediction_cache_bytes: int = 64 * 2**20
    """The answers to predictions that asked for ``cache``; 0: none is kept."""
    prediction_cache_s: float = 600.0
    """How old such an answer may be."""

    store_dir: str = ""
    """The folder of models that were uploaded; empty: there is none, and uploads are refused."""
    max_store_bytes: int = 64 * 2**30
    """All that it holds, uploads under way included."""
    max_upload_bytes: int = 16 * 2**30
    """One version's files."""

    max_streams: int = 1000
    """Streams kept, open and closed; the oldest closed one makes room for a new one."""
    stream_ttl_s: float = 3600.0
    """How long a closed stream can still be read."""
    grace_s: float = 30.0
    """How long a stream without consumers goes on, unless it is detached."""
    max_stream_bytes: int = 8 * 2**20
    """One stream's log; beyond it the older half is kept as a snapshot only."""
    max_log_bytes: int = 256 * 2**20
    """All streams' logs; beyond it the oldest closed ones are forgotten."""
    window_tokens: int = 4096
    """How far a consumer may lag: at 80 % it gets a notice, at 100 % its stream waits for it."""

    queue_deadline_s: float = 600.0
    """Until a stream's first computation."""
    first_token_deadline_s: float = 600.0
    """Until its first token."""
    inactivity_deadline_s: float = 300.0
    """From one token to the next."""
    total_deadline_s: float = 3600.0
    """Until its end."""

    client_requests_per_s: float = 0.0
    """What one client may ask for in the long run; 0: no limit."""
    client_requests_burst: int = 100
    """What it may ask for at once."""
    client_tokens_per_s: float = 0.0
    """Prompt and new tokens that one client may take in the long run; 0: no limit."""
    client_tokens_burst: int = 100_000
    """What it may take at once."""
    max_pending_per_client: int = 512
    """Requests of one client that are not ended."""
    max_queued_tokens: int = 4_000_000
    """Prompt and new tokens that all admitted requests may still take."""
    max_cache_used: float = 0.95
    """The part of a model's KV cache beyond which no request joins those that wait."""
    max_memory_used: float = 0.97
    """The part of the machine's memory, or the container's, beyond which requests are refused."""
    max_gpu_utilisation: float = 1.0
    """The same of the GPU's time, where there is one; 1: no limit, as a busy GPU is a good one."""
    max_gpu_memory_used: float = 0.98
    """The same of the GPU's memory."""

    def change(self, values: Mapping[str, Any]) -> None:
        """Set options of an engine that runs: its parts look here whenever they need one.

        What models are made with (`ModelBounds`) stays: those that are loaded were made with it. So does what is no
        option of an engine's.
        """
        own = self.__dataclass_fields__.keys() - ModelBounds.__dataclass_fields__.keys()
        for name in own & values.keys():
            object.__setattr__(self, name, values[name])
