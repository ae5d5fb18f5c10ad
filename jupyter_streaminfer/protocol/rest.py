"""What the ``api/`` addresses take and give."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from jupyter_streaminfer.protocol.errors import ErrorInfo
from jupyter_streaminfer.protocol.events import Event
from jupyter_streaminfer.protocol.limits import ModelName, ModelVersion
from jupyter_streaminfer.protocol.metrics import Oddity
from jupyter_streaminfer.protocol.signature import Signature

DType = Literal["auto", "float32", "bfloat16", "int8"]
Placement = Literal["auto", "thread", "process"]


Source = Annotated[str, Meta(min_length=1, max_length=4096)]


class LoadVersion(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a version of a model is, and how it computes; the body of ``POST api/models/NAME/versions`` (hot swap)."""

    path: Source | None = None
    """A model folder or file on the server, or ``module:factory``; absent: the bundled model of that name, and for a
    swap the files that the latest version came from, read again."""
    version: ModelVersion | None = None
    """Its name; absent: the next number."""
    dtype: DType = "auto"
    """What the weights are kept in; ``auto``: what they are stored in.

    ``bfloat16`` asked for by name: what they are multiplied with is rounded to it as well, where that is faster.
    """
    placement: Placement = "auto"
    """Where it computes; ``auto``: as the server is configured."""
    signature: Signature | None = None
    """Of a file that does not say itself what it takes and gives."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of a factory."""
    activate: bool = True
    """Whether requests that name no version go to it from now on; otherwise it only stands by."""


class LoadModel(LoadVersion, frozen=True, kw_only=True):
    """The body of ``POST api/models``."""

    name: ModelName
    pinned: bool = False
    """Never unloaded for being idle, nor for others that need its memory."""


class ModelSettings(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of ``PATCH api/models/NAME``: what can be changed while it serves; what is absent stays."""

    pinned: bool | None = None
    max_batch_size: Annotated[int, Meta(ge=1, le=65536)] | None = None
    """Rows of one batch at most, up to what the model was loaded with."""
    max_wait_ms: Annotated[float, Meta(ge=0.0, le=60_000.0)] | None = None
    """How long a row waits for company at most."""
    preferred_batch_sizes: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(max_length=64)] | None = None
    """A batch that reaches one of these need not wait for more."""
    latency_target_ms: Annotated[float, Meta(ge=0.0, le=60_000.0)] | None = None
    """Choose size and wait so that nine of ten rows are answered within it (adaptive batching); 0: off."""


class Arm(Struct, frozen=True, forbid_unknown_fields=True):
    """A version and the part of the requests that it gets."""

    version: ModelVersion
    weight: Annotated[float, Meta(ge=0.0, le=1.0)]


class Canary(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A version on trial beside the arms: taken out by itself where it does worse than they do."""

    version: ModelVersion
    weight: Annotated[float, Meta(gt=0.0, lt=1.0)]
    max_error_rate: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.05
    max_latency_ratio: Annotated[float, Meta(gt=0.0)] = 1.5
    """Of its median latency to the arms' own."""
    min_requests: Annotated[int, Meta(ge=1)] = 50
    """Answered by it before it is judged."""


class Shadow(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A version that is asked too, and whose answers are compared with those returned."""

    version: ModelVersion
    fraction: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """The part of the requests for predictions that it gets a copy of."""
    tolerance: Annotated[float, Meta(ge=0.0)] = 1e-5
    """How far numbers may differ and still agree."""


class Route(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of ``PUT api/models/NAME/route``: which versions answer who names none."""

    arms: Annotated[list[Arm], Meta(min_length=1, max_length=16)]
    """Their weights sum to 1."""
    canary: Canary | None = None
    """Its weight is taken off all arms alike."""
    shadow: Shadow | None = None


class Interval(Struct, frozen=True):
    """A figure and its 95 % confidence interval."""

    value: float
    low: float
    high: float


class ArmStatus(Struct, frozen=True, omit_defaults=True):
    """What one version did with the requests that were routed to it since the route was set."""

    version: str
    weight: float
    role: Literal["arm", "canary"]
    requests: int
    """Answered, or failed by its own fault."""
    errors: int
    refused: int = 0
    """Beside them: refused as invalid, which is the asker's fault unless other versions take the same."""
    share: Interval | None = None
    """Of all requests (Wilson's interval)."""
    error_rate: Interval | None = None
    """Of its own (Wilson's interval)."""
    latency_ms: Interval | None = None
    """The mean; for streams the time to the first token."""
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None


class ShadowStatus(Struct, frozen=True, omit_defaults=True):
    version: str
    compared: int
    """Rows."""
    agreement: Interval | None = None
    """The part of them that were alike (Wilson's interval)."""
    largest_difference: float = 0.0
    """Between two numbers at the same place."""
    errors: int = 0
    """Requests that it could not answer, and the other version could."""
    dropped: int = 0
    """Copies that were not sent, as too many were under way or it was not ready."""


class RouteStatus(Struct, frozen=True, omit_defaults=True):
    """``GET api/models/NAME/route``."""

    route: Route
    arms: list[ArmStatus]
    shadow: ShadowStatus | None = None
    rolled_back: str | None = None
    """Why a canary was taken out, if one was."""
    waiting: list[str] = []
    """Its versions that cannot answer now. Their part goes to the others; while no arm is ready there is no route, and
    requests go to the latest version."""


LoadStage = Literal["waiting", "starting", "reading", "preparing", "warming up"]


class LoadProgress(Struct, frozen=True):
    """How far a load is."""

    stage: LoadStage
    done_bytes: int = 0
    total_bytes: int = 0
    """Of the files to be read; 0 where that is not known."""


class ModelInfo(Struct, frozen=True, omit_defaults=True):
    """What a loaded model is and takes."""

    task: Literal["generate", "predict", "stream"]
    """``generate``: tokens. ``predict``: an answer for each row. ``stream``: a callable that yields (`Run`)."""
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
    signature: Signature | None = None
    """What it takes and gives (``predict``, ``stream``)."""

    @property
    def labels(self) -> list[str]:
        """The classes, in the model's order; none where it has no such."""
        return self.signature.labels if self.signature else []

    @property
    def input_shape(self) -> list[int | None]:
        """One row's shape, of a model with one input."""
        return self.signature.inputs[0].shape if self.signature and len(self.signature.inputs) == 1 else []


class BatchStats(Struct, frozen=True):
    """What a dynamic batcher does; counts are since the load."""

    batches: int
    rows: int
    full: int
    """Batches flushed for their size."""
    preferred: int
    """For reaching a preferred size."""
    timed: int
    """As their oldest row had waited long enough."""
    max_batch_size: int
    """As it is now; adaptive batching changes it."""
    max_wait_ms: float
    expired: int = 0
    """Requests whose deadline passed before they were computed."""
    latency_target_ms: float = 0.0
    """What adaptive batching aims at; 0: it is off."""
    attainable: bool = True
    """Whether a row alone is answered within it, nine times of ten; otherwise batches are of one, without a wait."""


class ModelStats(Struct, frozen=True, omit_defaults=True):
    """What a model's scheduler and KV cache, or its batcher, are doing; counts are since the load."""

    running: int
    """Sequences that are computed now."""
    waiting: int
    """Sequences that wait for a place or for room in the cache; requests with rows that no batch has taken."""
    preemptions: int
    """How often a running sequence gave its place in the cache away, to be computed again."""
    cache_used: float
    """The part of the KV cache that running sequences hold, 0 to 1."""
    prefix_tokens: int
    """Prompt tokens looked up in the prefix cache."""
    prefix_hits: int
    """Those of them that were there and were not computed."""
    batcher: BatchStats | None = None
    batch_sizes: dict[int, int] = {}
    """Batches or steps by how many rows or sequences were computed together; from 256 on rounded down by up to 1 %."""


class ModelStatus(Struct, frozen=True, kw_only=True):
    """One version of a model."""

    name: str
    version: str
    state: Literal["loading", "ready", "restarting", "retiring", "failed", "unloading", "unloaded"]
    """``retiring``: it takes no new request, and is freed when its last stream has ended. ``unloaded``: it is known and
    takes no memory; one that was unloaded as idle is loaded again for the next request."""
    path: str
    placement: str
    latest: bool = True
    """Whether requests that name no version go to it, but for what a `Route` says."""
    pinned: bool = False
    progress: LoadProgress | None = None
    """While it loads."""
    loaded_ms: float = 0.0
    """How long the load took, warm-up included."""
    age_s: float = 0.0
    """Since it was asked for."""
    idle_s: float = 0.0
    """Since its last request; 0 while one is under way."""
    memory_bytes: int = 0
    """What it takes: weights, caches, and where it has a process of its own all of that."""
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
    client: str = ""
    """Whose it is, as `ClientMetrics` has it."""
    arm: str = ""
    """``arm`` or ``canary`` where a `Route` chose its version."""
    began: float = 0.0
    """When the request was accepted, in seconds of Unix time."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    queue_ms: float | None = None
    """Until its first computation; None before that."""
    ttft_ms: float | None = None
    """Until its first token; None before that."""
    duration_ms: float | None = None
    """Until its end; None while it is open."""
    itl_mean_ms: float | None = None
    """From one token to the next, the mean; None below two tokens."""
    itl_max_ms: float | None = None
    tokens_per_s: float | None = None
    """Over all tokens but the first; None below two tokens."""
    finish_reason: str | None = None
    """Of one that is completed: ``stop`` or ``length``; of one that was stopped: why."""
    error: ErrorInfo | None = None
    odd: list[Oddity] = []
    """What is odd about it."""

    def __repr__(self) -> str:
        about = [self.state, f"{self.tokens:,} tokens"]
        if self.ttft_ms is not None:
            about.append(f"first after {self.ttft_ms:.1f} ms")
        if self.tokens_per_s is not None:
            about.append(f"{self.tokens_per_s:.1f}/s")
        about += ["paused"] * self.paused + list(self.odd)
        if self.error is not None:
            about.append(self.error.message)
        return f"<{self.stream} of {self.model}@{self.version}: {', '.join(about)}>"


class StreamDocument(Struct, frozen=True):
    """``GET api/streams/ID``: the whole log so far as one reading."""

    status: StreamStatus
    text: str
    events: list[Event]


class Reloaded(Struct, frozen=True):
    """``POST api/reload``: what became of the configuration that was read again."""

    models: list[str]
    """What was done to models, a sentence each."""
    options: dict[str, str]
    """The options that changed and hold from now on, each with its value now."""
    restart: list[str]
    """Options that changed, but hold only after the server's restart."""


class Health(Struct, frozen=True):
    status: Literal["ok", "degraded", "stopping"]
    """``degraded``: a loaded model's worker is dead."""
    version: str
    models: int
    """Ready to answer."""
    streams: int
    """Open."""
    connections: int
