"""What the engine measures of itself: one sample a second, which JSON, live watchers and tables share.

Times are milliseconds on the server's clock. Rates are of the last second, distributions of the last `WINDOW_S`
seconds, counts since the engine's start. Labels are bounded: models, versions and clients beyond the bound are
counted together as `OTHER`.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

from msgspec import Meta, Struct

from jupyter_streaminfer.protocol.limits import ModelName

WINDOW_S = 60.0
"""What distributions look back on, in seconds."""
HISTORY_S = 600.0
"""How far back samples are kept, in seconds."""
MAX_ALERT_RULES = 64
OTHER = "other"
"""The label of what there is no room for a label of its own."""


class Distribution(Struct, frozen=True):
    """How some figures are spread. Quantiles and extremes are within 1 % of themselves (`engine.sketch`)."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float


class Outcomes(Struct, frozen=True):
    """What became of requests since the engine's start."""

    completed: int = 0
    """In order: `Completed`, or answered."""
    incomplete: int = 0
    """Ended at their deadline with what there was."""
    cancelled: int = 0
    """By who asked, or as their model or the server went."""
    disconnected: int = 0
    """As nobody read them, or waited for them, any more."""
    failed: int = 0

    @property
    def all(self) -> int:
        """How many ended."""
        return self.completed + self.incomplete + self.cancelled + self.disconnected + self.failed


class TrafficMetrics(Struct, frozen=True, kw_only=True):
    """What some requests took and brought; of all of them, of one model's, or of one client's."""

    open: int = 0
    """Streams that are not ended, and predictions that are not answered."""
    requests: int = 0
    """Ever admitted."""
    requests_per_s: float = 0.0
    tokens_in: int = 0
    """Prompt tokens of admitted generations."""
    tokens_out: int = 0
    tokens_in_per_s: float = 0.0
    tokens_out_per_s: float = 0.0
    outcomes: Outcomes = Outcomes()
    errors: dict[str, int] = {}
    """Requests that failed, or were refused and so are no ``requests``, by error code."""
    error_rate: float | None = None
    """The part of the requests that ended in the window which failed; None where none ended."""


class LatencyMetrics(Struct, frozen=True, kw_only=True):
    """How long it took, over the window; None where there was nothing to measure."""

    ttft_ms: Distribution | None = None
    """From the acceptance of a stream to its first token."""
    itl_ms: Distribution | None = None
    """From one token of a stream to the next."""
    queue_ms: Distribution | None = None
    """From a stream's acceptance to its first computation."""
    prefill_ms: Distribution | None = None
    """From a stream's first computation to its first token."""
    decode_ms: Distribution | None = None
    """From a stream's first token to its last."""
    stream_ms: Distribution | None = None
    """From a stream's acceptance to its end."""
    predict_ms: Distribution | None = None
    """From the acceptance of a prediction, embedding or score to its answer; not where the cache had it."""


class ModelMetrics(Struct, frozen=True, kw_only=True):
    """One version of a model, by how requests came to it.

    What a version does, whoever asked, is in its row without an ``arm``: ``running`` and all that follows it. So the
    rows of a version add up. Where there are more versions than rows, the rest share one, by the name of `OTHER`.
    """

    model: str
    version: str
    arm: str
    """``arm`` or ``canary`` where a `Route` chose the version; empty for everything else."""
    traffic: TrafficMetrics
    latencies: LatencyMetrics
    running: int = 0
    """Sequences that are computed now."""
    waiting: int = 0
    """Requests that wait for a place."""
    cache_used: float | None = None
    """The part of the KV cache in use, 0 to 1."""
    prefix_hit_rate: float | None = None
    """The part of the prompt tokens that the prefix cache had, since the load."""
    batch_size: Distribution | None = None
    """Sequences, or rows, that were computed together, over the window."""
    flushes: dict[str, int] = {}
    """Batches of predictions by what had them computed: ``full``, ``preferred`` or ``timed``."""


class ClientMetrics(Struct, frozen=True):
    """One client."""

    client: str
    traffic: TrafficMetrics


AlertMetric = Literal[
    "ttft_p95_ms",
    "ttft_p99_ms",
    "itl_p95_ms",
    "itl_p99_ms",
    "predict_p95_ms",
    "predict_p99_ms",
    "error_rate",
    "waiting",
    "cache_used",
    "loop_lag_ms",
    "memory_bytes",
]


class AlertRule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A bound on a figure."""

    metric: AlertMetric
    above: Annotated[float, Meta(ge=0.0)]
    for_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 0.0
    """How long it must be above before it counts."""
    model: ModelName | None = None
    """Of this model alone; absent: of everything together."""
    name: Annotated[str, Meta(min_length=1, max_length=80)] | None = None
    """What people call it; absent: made from the rest."""


class AlertRules(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT api/alerts``: the rules of whoever asks for them, instead of those asked for before.

    Those of the server's configuration stay.
    """

    rules: Annotated[list[AlertRule], Meta(max_length=MAX_ALERT_RULES)]


class Alert(Struct, frozen=True):
    """A rule and how it stands; ``GET api/alerts`` lists them."""

    name: str
    rule: AlertRule
    configured: bool
    """Whether the server's configuration has it."""
    firing: bool
    value: float | None
    """The figure as it is now."""
    since: float | None
    """When it began to fire, in seconds of Unix time, while it does."""
    fired: int
    """How often it began to."""
    message: str
    """What it says to people."""

    def __repr__(self) -> str:
        state = "firing" if self.firing else "quiet"
        value = "nothing measured" if self.value is None else f"{self.value:g}"
        return f"<{self.name!r}: {state}, {value}, bound {self.rule.above:g}>"


class Metrics(Struct, frozen=True, kw_only=True):
    """``GET api/metrics`` and each second's sample: what the engine carries and what it had to do about it."""

    at: float
    """Seconds of Unix time."""
    connections: int
    streams_open: int
    streams_kept: int
    streams_paused: int
    """Waiting for their consumers now."""
    log_bytes: int
    """Of all streams' logs."""
    active_clients: int
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
    """Requests that were refused at the door, by error code."""
    deadlines: dict[str, int]
    """Streams that a deadline ended or had tried again, by its name."""
    slow_consumers: int
    """Notices given."""
    pauses: int
    retries: int
    """Streams that went on after their worker was lost or late."""
    restarts: int
    """Workers started again."""
    swaps: int
    """Times that a version took over from another."""
    loads: dict[str, int]
    """Loads that ended, by ``ready`` or ``failed``."""
    load_ms: Distribution | None
    """How long those took that were ready, since the start."""
    cache_hits: int
    """Predictions that the cache answered."""
    cache_misses: int
    """Those that were asked for with ``cache`` and had to be computed."""
    cache_bytes: int
    """What the answers in the cache take."""
    watchers: int
    """Who is sent samples."""
    watchers_dropped: int
    """Those that stopped reading them."""
    traffic: TrafficMetrics
    latencies: LatencyMetrics
    models: list[ModelMetrics]
    clients: list[ClientMetrics]
    odd: dict[str, int]
    """Streams that were found odd, by what was (`Oddity`)."""
    alerts: list[Alert]
    """Those that fire now."""
    gpu_utilisation: float | None = None
    """0 to 1, where there is a GPU."""
    gpu_memory_used: float | None = None
    """0 to 1, where there is a GPU."""

    def __repr__(self) -> str:
        about = [f"{self.streams_open} streams open", f"{self.traffic.tokens_out_per_s:.1f} tokens/s"]
        for name, times in (("TTFT", self.latencies.ttft_ms), ("ITL", self.latencies.itl_ms)):
            if times is not None:
                about.append(f"{name} p50 {times.p50:.1f}, p95 {times.p95:.1f} ms")
        if self.traffic.error_rate is not None:
            about.append(f"{self.traffic.error_rate:.1%} failed")
        about += [f"loop lag {self.loop_lag_ms:.1f} ms", f"memory {self.memory_bytes / 2**30:.2f} GiB"]
        about += [f"alert {alert.name!r}" for alert in self.alerts]
        return f"<{time.strftime('%H:%M:%S', time.gmtime(self.at))} UTC: {'; '.join(about)}>"


Oddity = Literal["repeating", "stalled", "long", "short"]
"""What is odd about a stream. ``repeating``: its end is one piece over and over. ``stalled``: it has had no token
for far longer than is usual. ``long``, ``short``: it has far more, or ended with far fewer, tokens than its model's
others."""
Topic = Literal["metrics", "models", "streams"]
