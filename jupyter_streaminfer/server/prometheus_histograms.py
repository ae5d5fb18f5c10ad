"""The engine's distributions as Prometheus' histograms. Their bounds are bounds of bins, so every count is exact."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import HistogramMetricFamily

from jupyter_streaminfer.engine import BUCKET_BOUNDS, Histogram

NAMES = {
    "ttft_ms": ("time_to_first_token_seconds", "From the acceptance of a stream to its first token"),
    "itl_ms": ("inter_token_latency_seconds", "From one token of a stream to the next"),
    "queue_ms": ("request_queue_time_seconds", "From a stream's acceptance to its first computation"),
    "prefill_ms": ("request_prefill_time_seconds", "From a stream's first computation to its first token"),
    "decode_ms": ("request_decode_time_seconds", "From a stream's first token to its last"),
    "stream_ms": ("e2e_request_latency_seconds", "From a stream's acceptance to its end"),
    "predict_ms": ("prediction_latency_seconds", "From the acceptance of a prediction to its answer"),
    "batch_size": ("batch_size", "Sequences, or rows, that were computed together"),
    "load_ms": ("model_load_time_seconds", "How long the loads of models took"),
}
"""What each figure is called there, and what it is."""


def histograms(prefix: str, labels: list[str], measured: list[Histogram]) -> Iterator[HistogramMetricFamily]:
    """A family for each figure; ``labels`` are those of the histograms that are a model's."""
    for figure, (name, about) in NAMES.items():
        of_all = figure == "load_ms"
        scale = 1000.0 if figure.endswith("_ms") else 1.0
        family = HistogramMetricFamily(prefix + name, about, labels=[] if of_all else labels)
        for each in measured:
            if each.figure == figure:
                found = each.buckets
                bounds = [repr(bound / scale) for bound in BUCKET_BOUNDS]
                buckets = [*zip(bounds, found.counts, strict=True), ("+Inf", found.count)]
                family.add_metric(list(each.key or ()), buckets, found.total / scale)
        yield family
