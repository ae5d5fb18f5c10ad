"""How long a stream took, as its reader wants to know it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jupyter_streaminfer.protocol import Timings, Usage


@dataclass(frozen=True)
class Percentiles:
    """Of a set of times, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, times_ms: list[float] | np.ndarray) -> Percentiles | None:
        """Linearly interpolated; None for no times."""
        if len(times_ms) == 0:
            return None
        return cls(*(round(float(value), 3) for value in np.percentile(times_ms, [50, 95, 99])))


@dataclass(frozen=True)
class StreamTimings:
    """One finished stream, in milliseconds on the server's clock from the moment the request was accepted."""

    queue_ms: float
    """Until the first computation began."""
    ttft_ms: float | None
    """Time to first token; None without one."""
    duration_ms: float
    """Until the end."""
    itl_ms: Percentiles | None
    """Inter-token latency; None with fewer than two tokens."""
    tokens_per_second: float
    """New tokens over the whole duration, queue and prefill included."""

    @classmethod
    def of(cls, timings: Timings, usage: Usage, at_ms: list[float]) -> StreamTimings:
        """From a terminal event, and the time of each token."""
        rate = 1000 * usage.completion_tokens / timings.duration_ms if timings.duration_ms > 0 else 0.0
        itl = Percentiles.of(np.diff(at_ms))
        return cls(timings.queue_ms, timings.ttft_ms, timings.duration_ms, itl, round(rate, 2))

    def __repr__(self) -> str:
        lines = [f"queue {self.queue_ms:.1f} ms"]
        if self.ttft_ms is not None:
            lines.append(f"first token {self.ttft_ms:.1f} ms")
        if self.itl_ms is not None:
            lines.append(
                f"between tokens p50 {self.itl_ms.p50:.1f}, p95 {self.itl_ms.p95:.1f}, p99 {self.itl_ms.p99:.1f} ms"
            )
        lines.append(f"all {self.duration_ms:.1f} ms, {self.tokens_per_second:.1f} tokens/s")
        return f"<{'; '.join(lines)}>"
