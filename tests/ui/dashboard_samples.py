"""Made-up samples, as an engine would send them."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec

from jupyter_streaminfer.protocol import (
    Alert,
    AlertRule,
    Distribution,
    LatencyMetrics,
    Metrics,
    ModelMetrics,
    Outcomes,
    StreamStatus,
    TrafficMetrics,
)

ALERT = Alert("slow", AlertRule("ttft_p95_ms", 50.0), True, True, 81.0, 1.0, 2, "slow: TTFT p95 is 81 ms, above 50 ms")


def spread(mean: float) -> Distribution:
    return Distribution(200, mean, mean * 0.9, mean * 1.8, mean * 2.5, mean * 4)


def latencies(mean: float) -> LatencyMetrics:
    return LatencyMetrics(ttft_ms=spread(mean * 4), itl_ms=spread(mean), queue_ms=spread(mean / 2))


def traffic(rate: float, **changes: Any) -> TrafficMetrics:
    fields: dict[str, Any] = {
        "open": 3,
        "requests": 300,
        "requests_per_s": rate / 100,
        "tokens_in_per_s": rate / 10,
        "tokens_out_per_s": rate,
        "outcomes": Outcomes(completed=280, cancelled=9),
        "errors": {"overloaded": 12},
        "error_rate": 0.04,
    }
    return TrafficMetrics(**(fields | changes))


def model(name: str = "demo", rate: float = 100.0, mean: float = 5.0, **changes: Any) -> ModelMetrics:
    fields: dict[str, Any] = {"version": "1", "arm": "", "running": 2, "waiting": 1, "cache_used": 0.4}
    rest = {"prefix_hit_rate": 0.6, "batch_size": spread(8.0), "flushes": {"full": 12}}
    return ModelMetrics(model=name, traffic=traffic(rate), latencies=latencies(mean), **(fields | rest | changes))


def metrics(at: float, **changes: Any) -> Metrics:
    """A sample of a busy engine with one model."""
    fields: dict[str, Any] = dict.fromkeys(Metrics.__struct_fields__, 0)
    for name in ("refused", "deadlines", "loads", "odd"):
        fields[name] = {}
    wave = 1 + 0.2 * math.sin(at / 20)
    fields |= {
        "at": at,
        "pending": 3,
        "memory_bytes": 700 * 2**20,
        "loop_lag_ms": 2.5,
        "load_ms": None,
        "traffic": traffic(100.0 * wave),
        "latencies": latencies(5.0 * wave),
        "models": [model()],
        "clients": [],
        "alerts": [],
        "gpu_utilisation": None,
        "gpu_memory_used": None,
    }
    return Metrics(**(fields | changes))


def history(seconds: int = 120, **changes: Any) -> list[Metrics]:
    """The samples of the last seconds."""
    now = time.time()
    return [metrics(now - seconds + index, **changes) for index in range(seconds)]


def idle() -> dict[str, Any]:
    """Changes that make a sample one of an engine to which nobody came."""
    return {"traffic": TrafficMetrics(), "latencies": LatencyMetrics(), "models": [], "pending": 0}


def stream(number: int, **changes: Any) -> StreamStatus:
    """An open stream; the higher its number, the older."""
    age = 1000.0 + 10 * number
    fields: dict[str, Any] = {"model": "demo", "version": "1", "state": "open", "tokens": number, "client": "notebook"}
    times = {"age_ms": age, "began": 1e9 - age / 1000, "queue_ms": 5.0, "ttft_ms": 40.0, "tokens_per_s": 50.0}
    place = {"stream": f"st_{number}", "epoch": "e", "floor": 0, "head": number, "consumers": 1, "detached": False}
    return StreamStatus(**(fields | times | place | changes))


def message(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    """What the kernel sends of it; streams that are not listed are closed ones."""
    if kind == "streams":
        more = {"open": sum(each.state == "open" for each in content)} | more
    return {"type": kind, kind: msgspec.to_builtins(content), **more}


def told(samples: list[Metrics]) -> dict[str, Any]:
    """What the kernel sends of the past."""
    return {"type": "history", "samples": msgspec.to_builtins(samples)}
