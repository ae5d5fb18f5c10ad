"""The figures that alerts look at: which one a rule means, and how it is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jupyter_streaminfer.protocol import AlertMetric, AlertRule, LatencyMetrics, Metrics, ModelMetrics

BARE: frozenset[AlertMetric] = frozenset({"loop_lag_ms", "memory_bytes"})
"""What only the whole server has."""

_LATENCIES: dict[AlertMetric, tuple[str, str]] = {
    "ttft_p95_ms": ("ttft_ms", "p95"),
    "ttft_p99_ms": ("ttft_ms", "p99"),
    "itl_p95_ms": ("itl_ms", "p95"),
    "itl_p99_ms": ("itl_ms", "p99"),
    "predict_p95_ms": ("predict_ms", "p95"),
    "predict_p99_ms": ("predict_ms", "p99"),
}
"""Each one's field of `LatencyMetrics`, and of the `Distribution` there."""
_WORDS: dict[AlertMetric, str] = {
    "ttft_p95_ms": "TTFT p95",
    "ttft_p99_ms": "TTFT p99",
    "itl_p95_ms": "ITL p95",
    "itl_p99_ms": "ITL p99",
    "predict_p95_ms": "prediction p95",
    "predict_p99_ms": "prediction p99",
    "error_rate": "error rate",
    "waiting": "waiting requests",
    "cache_used": "KV cache use",
    "loop_lag_ms": "event loop lag",
    "memory_bytes": "memory",
}


def figure(rule: AlertRule, metrics: Metrics) -> float | None:
    """The figure that a rule is about, None where there is nothing to measure.

    Of a model it is the worst of its versions'. Of everything, requests that wait are added up, and the use of KV
    caches is the worst one's.
    """
    of, model = rule.metric, rule.model
    if of == "loop_lag_ms":
        return metrics.loop_lag_ms
    if of == "memory_bytes":
        return float(metrics.memory_bytes)
    rows = [row for row in metrics.models if model is None or row.model == model]
    if of == "waiting":
        return _waiting(rows, together=model is None)
    if of == "cache_used":
        return _worst(row.cache_used for row in rows)
    get = _rate if of == "error_rate" else _latency(of)
    return get(metrics) if model is None else _worst(map(get, rows))


def _rate(of: Metrics | ModelMetrics) -> float | None:
    return of.traffic.error_rate


def _latency(metric: AlertMetric) -> Callable[[Metrics | ModelMetrics], float | None]:
    field, quantile = _LATENCIES[metric]

    def get(of: Metrics | ModelMetrics) -> float | None:
        latencies: LatencyMetrics = of.latencies
        spread = getattr(latencies, field)
        return None if spread is None else float(getattr(spread, quantile))

    return get


def _waiting(rows: list[ModelMetrics], *, together: bool) -> float | None:
    """A version that is routed to has a row for each way to it, and one queue for all of them."""
    queues: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row.model, row.version)
        queues[key] = max(queues.get(key, 0), row.waiting)
    if not queues:
        return None
    return float(sum(queues.values()) if together else max(queues.values()))


def _worst(figures: Iterable[float | None]) -> float | None:
    return max((each for each in figures if each is not None), default=None)


def named(rule: AlertRule) -> str:
    """What people call a rule."""
    if rule.name is not None:
        return rule.name
    of = f"{rule.model}: " if rule.model is not None else ""
    lasting = f" for {rule.for_s:g} s" if rule.for_s else ""
    return f"{of}{_WORDS[rule.metric]} above {_amount(rule.metric, rule.above)}{lasting}"


def said(rule: AlertRule, value: float | None, *, firing: bool) -> str:
    """How a rule stands, in a sentence."""
    what = _WORDS[rule.metric]
    of = f" of {rule.model}" if rule.model is not None else ""
    bound = _amount(rule.metric, rule.above)
    lead = f"{what[0].upper()}{what[1:]}{of}"
    if value is None:
        return f"{lead}: nothing to measure. The bound is {bound}."
    now = _amount(rule.metric, value)
    if firing and value > rule.above:
        return f"{lead} is {now}, above the bound of {bound}."
    if firing:
        return f"{lead} is {now}; it was above the bound of {bound} just now."
    return f"{lead} is {now}. The bound is {bound}."


def _amount(metric: AlertMetric, value: float) -> str:
    """A figure with its unit."""
    if metric in ("error_rate", "cache_used"):
        return f"{100 * value:.4g} %"
    if metric == "memory_bytes":
        return f"{value / 2**20:,.0f} MiB"
    if metric == "waiting":
        return f"{value:g}"
    return f"{value:.4g} ms"
