"""Which figures OpenTelemetry is given, and what they are called: as its conventions for generative AI have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from jupyter_streaminfer.protocol import OTHER, Distribution, Metrics, ModelMetrics, StreamStatus

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
    from opentelemetry.sdk.metrics.view import View

Figure = tuple[float, Mapping[str, str]]
"""One value and its attributes."""

MODEL, VERSION, ARM = "gen_ai.request.model", "streaminfer.model.version", "streaminfer.route.arm"
PROVIDER = {"gen_ai.provider.name": "jupyter_streaminfer"}
OPERATION = {"gen_ai.operation.name": "text_completion"}
"""What the conventions call any generation from a text, a chat's too."""
MAX_MODELS = 64
"""Models with a name of their own in the histograms; further ones are counted together as `OTHER`."""

DURATION, FIRST_TOKEN, PER_TOKEN = (
    "gen_ai.server.request.duration",
    "gen_ai.server.time_to_first_token",
    "gen_ai.server.time_per_output_token",
)
_HISTOGRAMS = {
    DURATION: (
        "From the acceptance of a generation to its end",
        [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92],
    ),
    FIRST_TOKEN: (
        "From the acceptance of a completed generation to its first token",
        [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0],
    ),
    PER_TOKEN: (
        "From one token of a completed generation to the next, the mean",
        [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5],
    ),
}
"""What each is, and its buckets' bounds in seconds; the conventions set both."""


class Histograms:
    """Figures of ended streams, each counted by itself."""

    def __init__(self, meter: Meter) -> None:
        self._by_name = {
            name: meter.create_histogram(name, unit="s", description=about) for name, (about, _) in _HISTOGRAMS.items()
        }
        self._models: set[str] = set()

    def add(self, status: StreamStatus) -> None:
        """Count one in."""
        model = status.model
        if len(self._models) < MAX_MODELS:
            self._models.add(model)
        attributes = {**PROVIDER, **OPERATION, MODEL: model if model in self._models else OTHER}
        if status.state == "completed":
            self._record(FIRST_TOKEN, status.ttft_ms, attributes)
            self._record(PER_TOKEN, status.itl_mean_ms, attributes)
        elif status.state == "failed" and status.error is not None:
            attributes["error.type"] = status.error.code
        else:
            attributes["error.type"] = f"{status.state}_{status.finish_reason}"
        self._record(DURATION, status.duration_ms, attributes)

    def _record(self, name: str, ms: float | None, attributes: Mapping[str, str]) -> None:
        if ms is not None:
            self._by_name[name].record(ms / 1000, attributes)


def views() -> list[View]:
    """The buckets of the histograms."""
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

    return [
        View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(bounds))
        for name, (_, bounds) in _HISTOGRAMS.items()
    ]


def observe(meter: Meter, read: Callable[[], Metrics]) -> None:
    """Have everything else read from the metrics whenever it is sent."""
    for create, table in (
        (meter.create_observable_gauge, _GAUGES),
        (meter.create_observable_counter, _COUNTERS),
    ):
        for name, (unit, about, figures) in table.items():
            create(f"streaminfer.{name}", [_callback(read, figures)], unit, about)


def _callback(
    read: Callable[[], Metrics], figures: Callable[[Metrics], Iterator[Figure]]
) -> Callable[[CallbackOptions], list[Observation]]:
    from opentelemetry.metrics import Observation

    return lambda options: [Observation(value, dict(attributes)) for value, attributes in figures(read())]


def _field(name: str, scale: float = 1) -> Callable[[Metrics], Iterator[Figure]]:
    """A field of the whole, where it is known."""

    def figures(metrics: Metrics) -> Iterator[Figure]:
        value = getattr(metrics, name)
        if value is not None:
            yield value if scale == 1 else value * scale, PROVIDER

    return figures


def _by_key(name: str, label: str) -> Callable[[Metrics], Iterator[Figure]]:
    """A field of the whole that counts by something."""

    def figures(metrics: Metrics) -> Iterator[Figure]:
        for key, count in getattr(metrics, name).items():
            yield count, {**PROVIDER, label: key}

    return figures


def _of_row(row: ModelMetrics) -> dict[str, str]:
    return {**PROVIDER, MODEL: row.model, VERSION: row.version, ARM: row.arm}


def _of_version(name: str) -> Callable[[Metrics], Iterator[Figure]]:
    """A field of a version, which has it once however many ways lead to it."""

    def figures(metrics: Metrics) -> Iterator[Figure]:
        values: dict[tuple[str, str], float] = {}
        for row in metrics.models:
            if (value := getattr(row, name)) is not None:
                values[row.model, row.version] = max(value, values.get((row.model, row.version), value))
        for (model, version), value in values.items():
            yield value, {**PROVIDER, MODEL: model, VERSION: version}

    return figures


def _requests(metrics: Metrics) -> Iterator[Figure]:
    for row in metrics.models:
        yield row.traffic.requests, _of_row(row)


def _ended(metrics: Metrics) -> Iterator[Figure]:
    for row in metrics.models:
        outcomes = row.traffic.outcomes
        for outcome in outcomes.__struct_fields__:
            yield getattr(outcomes, outcome), {**_of_row(row), "streaminfer.outcome": outcome}


def _errors(metrics: Metrics) -> Iterator[Figure]:
    for row in metrics.models:
        for code, count in row.traffic.errors.items():
            yield count, {**_of_row(row), "error.type": code}


def _tokens(metrics: Metrics) -> Iterator[Figure]:
    for row in metrics.models:
        yield row.traffic.tokens_in, {**_of_row(row), "gen_ai.token.type": "input"}
        yield row.traffic.tokens_out, {**_of_row(row), "gen_ai.token.type": "output"}


def _quantiles(name: str) -> Callable[[Metrics], Iterator[Figure]]:
    """The spread of a time over the window, in seconds."""

    def figures(metrics: Metrics) -> Iterator[Figure]:
        for row in metrics.models:
            spread: Distribution | None = getattr(row.latencies, name)
            if spread is not None:
                for quantile, ms in (("0.5", spread.p50), ("0.95", spread.p95), ("0.99", spread.p99)):
                    yield ms / 1000, {**_of_row(row), "quantile": quantile}

    return figures


def _alerts(metrics: Metrics) -> Iterator[Figure]:
    yield len(metrics.alerts), PROVIDER


_Table = dict[str, tuple[str, str, Callable[[Metrics], Iterator[Figure]]]]
_GAUGES: _Table = {
    "connections": ("{connection}", "Open WebSockets and readers of server-sent events", _field("connections")),
    "watchers": ("{watcher}", "Who is sent samples", _field("watchers")),
    "streams.open": ("{stream}", "Streams that are not ended", _field("streams_open")),
    "streams.paused": ("{stream}", "Streams that wait for their consumers", _field("streams_paused")),
    "requests.pending": ("{request}", "Requests admitted and not yet ended", _field("pending")),
    "requests.running": ("{request}", "Sequences that are computed now", _of_version("running")),
    "requests.waiting": ("{request}", "Requests that wait for a place", _of_version("waiting")),
    "kv_cache.usage": ("1", "The part of the KV cache in use", _of_version("cache_used")),
    "prefix_cache.hit_rate": ("1", "The part of prompts that was cached", _of_version("prefix_hit_rate")),
    "inter_token_latency": ("s", "From one token to the next, over the last minute", _quantiles("itl_ms")),
    "predict.duration": (
        "s",
        "From a prediction's acceptance to its answer, the last minute",
        _quantiles("predict_ms"),
    ),
    "event_loop.lag": ("s", "How late the event loop was at worst, the last seconds", _field("loop_lag_ms", 0.001)),
    "memory.usage": ("By", "Resident memory of the server and its workers", _field("memory_bytes")),
    "gpu.utilization": ("1", "The part of the GPU's time in use", _field("gpu_utilisation")),
    "gpu.memory.utilization": ("1", "The part of the GPU's memory in use", _field("gpu_memory_used")),
    "alerts.firing": ("{alert}", "Alerts that fire", _alerts),
}
_COUNTERS: _Table = {
    "requests": ("{request}", "Requests admitted", _requests),
    "requests.ended": ("{request}", "Requests that ended, by how", _ended),
    "requests.errors": ("{request}", "Requests that failed or were refused, by error code", _errors),
    "requests.refused": ("{request}", "Requests refused at the door, by error code", _by_key("refused", "error.type")),
    "tokens": ("{token}", "Tokens of prompts and of answers", _tokens),
    "deadlines": ("{deadline}", "Deadlines that passed, by name", _by_key("deadlines", "streaminfer.deadline")),
    "streams.pauses": ("{pause}", "Times that a stream waited for its consumers", _field("pauses")),
    "streams.retries": ("{retry}", "Streams that went on after their worker was lost or late", _field("retries")),
    "streams.odd": ("{stream}", "Streams that were found odd, by what was", _by_key("odd", "streaminfer.oddity")),
    "workers.restarts": ("{restart}", "Workers started again", _field("restarts")),
    "models.swaps": ("{swap}", "Times that a version took over from another", _field("swaps")),
    "models.loads": ("{load}", "Loads that ended, by how", _by_key("loads", "streaminfer.outcome")),
    "prediction_cache.hits": ("{prediction}", "Predictions that the cache answered", _field("cache_hits")),
    "prediction_cache.misses": ("{prediction}", "Predictions that it could have answered", _field("cache_misses")),
}
