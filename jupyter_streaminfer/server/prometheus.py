"""The engine's numbers in Jupyter's own ``/metrics``, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jupyter_streaminfer.protocol import Metrics, ModelStatus

PREFIX = "streaminfer_"

_GAUGES = {
    "connections": ("connections", "Open WebSockets and readers of server-sent events"),
    "streams_open": ("streams_open", "Streams that are not ended"),
    "streams_kept": ("streams_kept", "Streams that can be read"),
    "streams_paused": ("streams_paused", "Streams that wait for their consumers"),
    "log_bytes": ("log_bytes", "Bytes of all streams' logs"),
    "clients": ("clients", "Clients with something under way"),
    "pending": ("requests_pending", "Requests admitted and not yet ended"),
    "queued_tokens": ("queued_tokens", "Prompt and new tokens that admitted requests may still take"),
    "tokens_per_second": ("tokens_per_second", "How fast the engine gets done with queued tokens"),
    "memory_bytes": ("memory_bytes", "Resident memory of the server and its workers"),
    "cache_bytes": ("prediction_cache_bytes", "Bytes of answers in the prediction cache"),
    "gpu_utilisation": ("gpu_utilisation_perc", "GPU time in use, 0 to 1"),
    "gpu_memory_used": ("gpu_memory_usage_perc", "GPU memory in use, 0 to 1"),
}
"""Fields of `Metrics`, each with its name there (without the prefix) and what it is. Fields not named are not shown."""
_COUNTERS = {
    "admitted": ("requests_admitted", "Requests admitted"),
    "slow_consumers": ("slow_consumers", "Notices given to consumers that lag"),
    "pauses": ("stream_pauses", "Times a stream waited for its consumers"),
    "retries": ("stream_retries", "Streams that went on after their worker was lost or late"),
    "restarts": ("worker_restarts", "Workers started again"),
    "cache_hits": ("prediction_cache_hits", "Predictions that the cache answered"),
    "cache_misses": ("prediction_cache_misses", "Predictions that the cache could have answered and did not"),
}
_LABELLED = {
    "refused": ("requests_refused", "Requests refused, by error code", "code"),
    "deadlines": ("deadlines_passed", "Streams that a deadline ended or had tried again", "deadline"),
}
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

    def __init__(self, read: Callable[[], tuple[Metrics, list[ModelStatus]] | None]) -> None:
        """``read`` gives None while there is no engine."""
        self._read = read

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
        if (read := self._read()) is None:
            return
        metrics, models = read
        for field, (name, about) in _GAUGES.items():
            if (value := getattr(metrics, field)) is not None:
                yield GaugeMetricFamily(PREFIX + name, about, value=value)
        yield GaugeMetricFamily(
            PREFIX + "event_loop_lag_seconds", "How late the event loop was at worst", value=metrics.loop_lag_ms / 1000
        )
        for field, (name, about) in _COUNTERS.items():
            yield CounterMetricFamily(PREFIX + name, about, value=getattr(metrics, field))
        for field, (name, about, label) in _LABELLED.items():
            counter = CounterMetricFamily(PREFIX + name, about, labels=[label])
            for key, count in getattr(metrics, field).items():
                counter.add_metric([key], count)
            yield counter
        yield from _of_models(models)


def _of_models(models: list[ModelStatus]) -> Iterator[Metric]:
    families: list[tuple[str, GaugeMetricFamily | CounterMetricFamily]] = [
        (field, GaugeMetricFamily(PREFIX + name, about, labels=["model_name", "version"]))
        for field, (name, about) in _MODEL_GAUGES.items()
    ]
    families += [
        (field, CounterMetricFamily(PREFIX + name, about, labels=["model_name", "version"]))
        for field, (name, about) in _MODEL_COUNTERS.items()
    ]
    for field, family in families:
        for model in models:
            if model.stats is not None and model.stats.batcher is None:
                family.add_metric([model.name, model.version], getattr(model.stats, field))
        yield family
