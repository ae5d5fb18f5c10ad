"""The engine's numbers in Jupyter's own ``/metrics``, as Prometheus reads them.

Names are vLLM's where it has such a number, and units are seconds, bytes and parts of 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import Metrics, ModelMetrics, ModelStatus, TrafficMetrics
from jupyter_streaminfer.server.prometheus_histograms import histograms

PREFIX = "streaminfer_"

GAUGES = {
    "connections": ("connections", "Open WebSockets and readers of server-sent events"),
    "streams_open": ("streams_open", "Streams that are not ended"),
    "streams_kept": ("streams_kept", "Streams that can be read"),
    "streams_paused": ("streams_paused", "Streams that wait for their consumers"),
    "log_bytes": ("log_bytes", "Bytes of all streams' logs"),
    "active_clients": ("clients", "Clients with something under way"),
    "pending": ("requests_pending", "Requests admitted and not yet ended"),
    "queued_tokens": ("queued_tokens", "Prompt and new tokens that admitted requests may still take"),
    "tokens_per_second": ("tokens_per_second", "How fast the engine gets done with queued tokens"),
    "memory_bytes": ("memory_bytes", "Resident memory of the server and its workers"),
    "cache_bytes": ("prediction_cache_bytes", "Bytes of answers in the prediction cache"),
    "watchers": ("watchers", "Who is sent samples"),
    "gpu_utilisation": ("gpu_utilisation_perc", "GPU time in use, 0 to 1"),
    "gpu_memory_used": ("gpu_memory_usage_perc", "GPU memory in use, 0 to 1"),
}
"""Fields of `Metrics`, each with its name there (without the prefix) and what it is."""
COUNTERS = {
    "admitted": ("requests_admitted", "Requests admitted"),
    "slow_consumers": ("slow_consumers", "Notices given to consumers that lag"),
    "pauses": ("stream_pauses", "Times a stream waited for its consumers"),
    "retries": ("stream_retries", "Streams that went on after their worker was lost or late"),
    "restarts": ("worker_restarts", "Workers started again"),
    "swaps": ("model_swaps", "Times that a version took over from another"),
    "cache_hits": ("prediction_cache_hits", "Predictions that the cache answered"),
    "cache_misses": ("prediction_cache_misses", "Predictions that the cache could have answered and did not"),
    "watchers_dropped": ("watchers_dropped", "Watchers that stopped reading their samples"),
}
LABELLED = {
    "refused": ("requests_refused", "Requests refused, by error code", "code"),
    "deadlines": ("deadlines_passed", "Streams that a deadline ended or had tried again", "deadline"),
    "loads": ("model_loads", "Loads that ended, by ready or failed", "result"),
    "odd": ("streams_odd", "Streams that were found odd, by what was", "oddity"),
}
_MODEL = ["model_name", "version"]
_SERIES = [*_MODEL, "arm"]
_MODEL_GAUGES = {
    "running": ("num_requests_running", "Sequences that are computed now"),
    "waiting": ("num_requests_waiting", "Sequences that wait for a place"),
    "cache_used": ("kv_cache_usage_perc", "KV cache in use, 0 to 1"),
}
_MODEL_COUNTERS = {
    "preemptions": ("num_preemptions", "Running sequences that gave their place away"),
    "prefix_tokens": ("prefix_cache_queries", "Prompt tokens looked up in the prefix cache"),
    "prefix_hits": ("prefix_cache_hits", "Prompt tokens found in the prefix cache"),
}
"""Fields of `ModelStats`, under the names that vLLM gave them."""


class EngineCollector(Collector):
    """Reads the engine whenever Prometheus asks."""

    def __init__(self, engine: Callable[[], Engine | None]) -> None:
        """``engine`` gives None while there is none."""
        self._engine = engine

    def register(self) -> None:
        """Show the numbers from now on."""
        REGISTRY.register(self)

    def unregister(self) -> None:
        """Show them no more."""
        REGISTRY.unregister(self)

    def describe(self) -> list[Metric]:
        """Nothing: to register asks no engine, and two servers of one process do not collide."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every number, as it is now."""
        if (engine := self._engine()) is None:
            return
        metrics = engine.metrics()
        yield from _of_all(metrics)
        yield from _of_workers(engine.models())
        yield from _of_models(metrics)
        yield _counter(
            "request_success",
            "Streams that completed, by why",
            [*_SERIES, "finished_reason"],
            (([*key, reason], count) for key, reasons in engine.finish_reasons() for reason, count in reasons.items()),
        )
        yield from _of_clients(metrics)
        yield from histograms(PREFIX, _SERIES, engine.histograms())


def _of_all(metrics: Metrics) -> Iterator[Metric]:
    for field, (name, about) in GAUGES.items():
        if (value := getattr(metrics, field)) is not None:
            yield GaugeMetricFamily(PREFIX + name, about, value=value)
    yield GaugeMetricFamily(
        PREFIX + "event_loop_lag_seconds", "How late the event loop was at worst", value=metrics.loop_lag_ms / 1000
    )
    yield GaugeMetricFamily(PREFIX + "alerts_firing", "Alerts that fire", value=len(metrics.alerts))
    for field, (name, about) in COUNTERS.items():
        yield CounterMetricFamily(PREFIX + name, about, value=getattr(metrics, field))
    for field, (name, about, label) in LABELLED.items():
        counts = getattr(metrics, field)
        yield _counter(name, about, [label], (([key], count) for key, count in counts.items()))


def _of_workers(models: list[ModelStatus]) -> Iterator[Metric]:
    """What the workers say of themselves."""
    stats = [([model.name, model.version], model.stats) for model in models if model.stats is not None]
    for field, (name, about) in _MODEL_GAUGES.items():
        values = ((key, getattr(each, field)) for key, each in stats if each.batcher is None)
        yield _gauge(name, about, _MODEL, values)
    for field, (name, about) in _MODEL_COUNTERS.items():
        values = ((key, getattr(each, field)) for key, each in stats if each.batcher is None)
        yield _counter(name, about, _MODEL, values)
    yield _counter(
        "batch_flushes",
        "Batches of predictions, by what had them computed",
        [*_MODEL, "reason"],
        (
            ([*key, reason], getattr(each.batcher, reason))
            for key, each in stats
            if each.batcher is not None
            for reason in ("full", "preferred", "timed")
        ),
    )


def _of_models(metrics: Metrics) -> Iterator[Metric]:
    """What became of requests, by model, version and arm."""
    rows = [([each.model, each.version, each.arm], each.traffic) for each in metrics.models]
    nowhere = TrafficMetrics(errors=_unplaced(metrics.traffic, metrics.models))
    yield from _of_traffic("", "", _SERIES, [*rows, (["", "", ""], nowhere)])


def _of_clients(metrics: Metrics) -> Iterator[Metric]:
    """The same, by client."""
    yield from _of_traffic("client_", " of a client", ["client"], [([c.client], c.traffic) for c in metrics.clients])


def _of_traffic(
    prefix: str, whose: str, labels: list[str], rows: list[tuple[list[str], TrafficMetrics]]
) -> Iterator[Metric]:
    for field, name, about in (
        ("requests", "requests", "Requests admitted"),
        ("tokens_in", "prompt_tokens", "Prompt tokens of admitted generations"),
        ("tokens_out", "generation_tokens", "Tokens generated"),
    ):
        yield _counter(prefix + name, about + whose, labels, ((key, getattr(each, field)) for key, each in rows))
    yield _gauge(
        f"{prefix}requests_open",
        f"Requests{whose} that are not ended",
        labels,
        ((key, each.open) for key, each in rows),
    )
    yield _counter(
        f"{prefix}requests_ended",
        f"Requests{whose} that ended, by what became of them",
        [*labels, "outcome"],
        (
            ([*key, outcome], getattr(each.outcomes, outcome))
            for key, each in rows
            for outcome in each.outcomes.__struct_fields__
        ),
    )
    yield _counter(
        f"{prefix}request_errors",
        f"Requests{whose} that failed or were refused, by error code",
        [*labels, "code"],
        (([*key, code], count) for key, each in rows for code, count in each.errors.items()),
    )


def _unplaced(traffic: TrafficMetrics, models: list[ModelMetrics]) -> dict[str, int]:
    """The errors of requests that came to no model."""
    left = Counter(traffic.errors)
    for each in models:
        left.subtract(each.traffic.errors)
    return dict(+left)


def _counter(
    name: str, about: str, labels: list[str], samples: Iterable[tuple[list[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, about, labels=labels)
    for key, value in samples:
        family.add_metric(key, value)
    return family


def _gauge(name: str, about: str, labels: list[str], samples: Iterable[tuple[list[str], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, about, labels=labels)
    for key, value in samples:
        family.add_metric(key, value)
    return family
