"""Samples as the sampler takes them, with the figures that a test wants."""

from typing import Any

from jupyter_streaminfer.protocol import Distribution, LatencyMetrics, Metrics, ModelMetrics, TrafficMetrics


def spread(p99: float, p95: float | None = None) -> Distribution:
    """A distribution of which only its upper end matters."""
    p95 = p99 if p95 is None else p95
    return Distribution(count=10, mean=p95 / 2, p50=p95 / 2, p95=p95, p99=p99, max=p99)


def row(
    model: str, version: str = "1", arm: str = "", *, error_rate: float | None = None, **fields: Any
) -> ModelMetrics:
    """One version's figures; what is a latency by its name is put there."""
    latencies = {name: fields.pop(name) for name in list(fields) if name in LatencyMetrics.__struct_fields__}
    return ModelMetrics(
        model=model,
        version=version,
        arm=arm,
        traffic=TrafficMetrics(error_rate=error_rate),
        latencies=LatencyMetrics(**latencies),
        **fields,
    )


def sample(*models: ModelMetrics, at: float = 1e9, **fields: Any) -> Metrics:
    """A sample in which nothing else happens."""
    counts = dict.fromkeys(
        ("connections", "streams_open", "streams_kept", "streams_paused", "log_bytes", "active_clients", "pending",
         "queued_tokens", "memory_bytes", "admitted", "slow_consumers", "pauses", "retries", "restarts", "swaps",
         "cache_hits", "cache_misses", "cache_bytes", "watchers", "watchers_dropped"), 0
    )  # fmt: skip
    rest: dict[str, Any] = {
        "tokens_per_second": 0.0,
        "loop_lag_ms": 0.0,
        "refused": {},
        "deadlines": {},
        "loads": {},
        "load_ms": None,
        "traffic": TrafficMetrics(),
        "latencies": LatencyMetrics(),
        "clients": [],
        "odd": {},
        "alerts": [],
    }
    return Metrics(at=at, models=list(models), **{**counts, **rest, **fields})
