"""What a saved notebook keeps of a dashboard: the figures of one moment."""

from __future__ import annotations

import html
from datetime import UTC, datetime

from jupyter_streaminfer.protocol import Distribution, Metrics

MAX_MODELS = 32

Table = list[tuple[str, ...]]


def as_text(metrics: Metrics) -> str:
    """Lines of figures, and a line for each version of a model."""
    lines = [f"Dashboard, {_moment(metrics)}"]
    lines += [f"{name}: {value}" for name, value in _figures(metrics)]
    models = _models(metrics)
    if models:
        head, *rows = models
        lines += ["; ".join(f"{name} {cell}" for name, cell in zip(head, row, strict=True) if cell) for row in rows]
    return "\n".join(lines)


def as_html(metrics: Metrics) -> str:
    """Two tables, without script; names of models are escaped."""
    parts = [f"<p>Dashboard, {_moment(metrics)}</p>", _table(_figures(metrics))]
    if models := _models(metrics):
        parts.append(_table(models[1:], models[0]))
    return "".join(parts)


def _moment(metrics: Metrics) -> str:
    return datetime.fromtimestamp(metrics.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _figures(metrics: Metrics) -> Table:
    traffic, latencies = metrics.traffic, metrics.latencies
    figures: Table = [
        ("open requests", f"{traffic.open}"),
        ("requests since the start", f"{traffic.requests}"),
        ("tokens/s out", f"{traffic.tokens_out_per_s:.1f}"),
        ("tokens/s in", f"{traffic.tokens_in_per_s:.1f}"),
        ("time to first token", _spread(latencies.ttft_ms)),
        ("time between tokens", _spread(latencies.itl_ms)),
        ("predictions", _spread(latencies.predict_ms)),
        ("errors", ", ".join(f"{code} {count}" for code, count in sorted(traffic.errors.items())) or "none"),
        ("alerts", "; ".join(alert.message for alert in metrics.alerts) or "none"),
        ("memory", f"{metrics.memory_bytes / 2**20:.0f} MiB"),
        ("event loop lag", f"{metrics.loop_lag_ms:.1f} ms"),
    ]
    if metrics.gpu_utilisation is not None:
        figures.append(("GPU", f"{metrics.gpu_utilisation:.0%}"))
    return figures


def _models(metrics: Metrics) -> Table:
    """A head and a row for each entry; empty where there is none."""
    rows: Table = [
        (
            " ".join(part for part in (entry.model, entry.version, entry.arm) if part),
            f"{entry.running}",
            f"{entry.waiting}",
            f"{entry.traffic.tokens_out_per_s:.1f}",
            _spread(entry.latencies.ttft_ms),
            "" if entry.batch_size is None else f"{entry.batch_size.mean:.1f}",
            "" if entry.cache_used is None else f"{entry.cache_used:.0%}",
        )
        for entry in metrics.models[:MAX_MODELS]
    ]
    return [("model", "running", "waiting", "tokens/s", "TTFT", "batch", "KV cache"), *rows] if rows else []


def _spread(values: Distribution | None) -> str:
    if values is None:
        return "–"
    return f"p50 {values.p50:.1f} ms, p95 {values.p95:.1f} ms, p99 {values.p99:.1f} ms"


def _table(rows: Table, head: tuple[str, ...] = ()) -> str:
    top = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{top}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
