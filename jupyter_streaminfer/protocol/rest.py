"""What the ``api/`` addresses take and give."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from jupyter_streaminfer.protocol.errors import ErrorInfo
from jupyter_streaminfer.protocol.events import Event
from jupyter_streaminfer.protocol.limits import ModelName

DType = Literal["auto", "float32", "bfloat16", "int8"]
Placement = Literal["auto", "thread", "process"]


class LoadModel(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST api/models``."""

    name: ModelName
    path: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """A model folder on the server; absent: the bundled model of that name."""
    dtype: DType = "auto"
    """What the weights are kept in; ``auto``: what they are stored in."""
    placement: Placement = "auto"
    """Where it computes; ``auto``: as the server is configured."""


class ModelInfo(Struct, frozen=True, omit_defaults=True):
    """What a loaded model is and takes."""

    task: Literal["generate", "predict"]
    architecture: str
    parameters: int
    """How many numbers its weights hold."""
    weight_bytes: int
    device: str
    dtype: str
    """What the weights are kept in."""
    runner: str = ""
    """Which forward computes it, and why that one (``generate``)."""
    context_length: int = 0
    """Tokens of prompt and answer together (``generate``)."""
    max_batch_size: int = 0
    """Sequences or rows computed together at most."""
    cache_bytes: int = 0
    """The KV cache, allocated up front (``generate``)."""
    chat: bool = False
    """Whether it has a chat template (``generate``)."""
    input_shape: list[int] = []
    """One row's shape (``predict``)."""
    labels: list[str] = []
    """The classes, in the model's order (``predict``)."""


class ModelStats(Struct, frozen=True):
    """What a language model's scheduler and KV cache are doing; counts are since the load."""

    running: int
    """Sequences that are computed now."""
    waiting: int
    """Sequences that wait for a place or for room in the cache."""
    preemptions: int
    """How often a running sequence gave its place in the cache away, to be computed again."""
    cache_used: float
    """The part of the KV cache that running sequences hold, 0 to 1."""
    prefix_tokens: int
    """Prompt tokens looked up in the prefix cache."""
    prefix_hits: int
    """Those of them that were there and were not computed."""


class ModelStatus(Struct, frozen=True):
    """One model of the registry."""

    name: str
    version: str
    state: Literal["loading", "ready", "restarting", "failed", "unloading"]
    path: str
    placement: str
    loaded_ms: float = 0.0
    """How long the load took, warm-up included."""
    active: int = 0
    """Requests admitted and not yet ended."""
    requests: int = 0
    """Requests ever admitted."""
    restarts: int = 0
    """How often its worker was lost and started again."""
    info: ModelInfo | None = None
    error: ErrorInfo | None = None
    stats: ModelStats | None = None

    def __repr__(self) -> str:
        about: list[str] = [self.state]
        if self.info is not None:
            about += [self.info.task, f"{self.info.parameters:,} parameters", f"{self.info.device} {self.info.dtype}"]
            if self.info.context_length:
                about.append(f"context {self.info.context_length:,}")
        if self.error is not None:
            about.append(self.error.message)
        return f"<{self.name}@{self.version}: {', '.join(about)}>"


class StreamStatus(Struct, frozen=True):
    """One stream of the engine, without its events."""

    stream: str
    epoch: str
    model: str
    version: str
    state: Literal["open", "completed", "cancelled", "failed", "incomplete"]
    floor: int
    head: int
    consumers: int
    detached: bool
    age_ms: float
    """Since the request was accepted."""
    tokens: int = 0
    paused: bool = False
    """Whether it waits for its consumers to catch up."""


class StreamDocument(Struct, frozen=True):
    """``GET api/streams/ID``: the whole log so far as one reading."""

    status: StreamStatus
    text: str
    events: list[Event]


class Health(Struct, frozen=True):
    status: Literal["ok", "degraded", "stopping"]
    """``degraded``: a loaded model's worker is dead."""
    version: str
    models: int
    """Ready to answer."""
    streams: int
    """Open."""
    connections: int


class Metrics(Struct, frozen=True):
    """``GET api/metrics``: what the engine carries and what it had to do about it; counts are since its start."""

    connections: int
    streams_open: int
    streams_kept: int
    streams_paused: int
    """Waiting for their consumers now."""
    log_bytes: int
    """Of all streams' logs."""
    clients: int
    """With something under way."""
    pending: int
    """Requests admitted and not yet ended."""
    queued_tokens: int
    """Prompt and new tokens that admitted requests may still take."""
    tokens_per_second: float
    """At which the engine gets done with these, measured over the last seconds."""
    memory_bytes: int
    """Of this process and its workers."""
    loop_lag_ms: float
    """How late the event loop was at worst in the last seconds."""
    admitted: int
    refused: dict[str, int]
    """Requests that were refused, by error code."""
    deadlines: dict[str, int]
    """Streams that a deadline ended or had tried again, by its name."""
    slow_consumers: int
    """Notices given."""
    pauses: int
    retries: int
    """Streams that went on after their worker was lost or late."""
    restarts: int
    """Workers started again."""
    gpu_utilisation: float | None = None
    """0 to 1, where there is a GPU."""
    gpu_memory_used: float | None = None
    """0 to 1, where there is a GPU."""
