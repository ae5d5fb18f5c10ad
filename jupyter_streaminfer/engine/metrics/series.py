"""One version of a model, by how requests came to it: what they took and brought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from jupyter_streaminfer.engine.metrics.state import VersionState
from jupyter_streaminfer.engine.metrics.tally import Tally
from jupyter_streaminfer.engine.metrics.window import Window, distribution, merged, whole
from jupyter_streaminfer.engine.sketch import Buckets
from jupyter_streaminfer.protocol import LatencyMetrics, ModelMetrics

LATENCIES = LatencyMetrics.__struct_fields__
"""The names of its windows of times."""


ModelKey = tuple[str, str, str]
"""The labels of a series: model, version and arm."""


class Histogram(NamedTuple):
    """All the numbers ever of one kind."""

    key: ModelKey | None
    """Whose; None: of the whole engine."""
    figure: str
    """A field of `LatencyMetrics`, ``batch_size`` or ``load_ms``; times are in milliseconds."""
    buckets: Buckets


class ModelSeries(Tally):
    """Counts and windows; see `LatencyMetrics` and `ModelMetrics` for each."""

    __slots__ = (*LATENCIES, "batch_size", "reasons")

    def __init__(self) -> None:
        super().__init__()
        self.ttft_ms = Window()
        self.itl_ms = Window()
        self.queue_ms = Window()
        self.prefill_ms = Window()
        self.decode_ms = Window()
        self.stream_ms = Window()
        self.predict_ms = Window()
        self.batch_size = Window()
        self.reasons: Counter[str] = Counter()
        """Streams that completed, by their finish reason."""

    @property
    def windows(self) -> list[tuple[str, Window]]:
        """All of them by name."""
        return [(name, getattr(self, name)) for name in (*LATENCIES, "batch_size")]

    def slide(self) -> None:
        """A slice of the window is over."""
        super().slide()
        for _, window in self.windows:
            window.slide()

    def absorb(self, other: Tally) -> None:
        """Take in an idle one's counts, as if they had been here before the window."""
        super().absorb(other)
        if isinstance(other, ModelSeries):
            self.reasons += other.reasons
            for (_, mine), (_, theirs) in zip(self.windows, other.windows, strict=True):
                mine.absorb(theirs)

    def metrics(self, key: ModelKey, state: VersionState) -> ModelMetrics:
        """The series as the world sees it, beside what its version is doing."""
        model, version, arm = key
        return ModelMetrics(
            model=model,
            version=version,
            arm=arm,
            traffic=self.traffic(),
            latencies=latencies([self]),
            running=state.running,
            waiting=state.waiting,
            cache_used=state.cache_used,
            prefix_hit_rate=state.prefix_hit_rate,
            batch_size=whole(self.batch_size.distribution()),
            flushes=dict(state.flushes),
        )


def latencies(series: Iterable[ModelSeries]) -> LatencyMetrics:
    """How long it took all of them, over the window."""
    every = list(series)
    if len(every) == 1:
        return LatencyMetrics(**{name: getattr(every[0], name).distribution() for name in LATENCIES})
    return LatencyMetrics(
        **{name: distribution(merged(getattr(each, name).sketch() for each in every)) for name in LATENCIES}
    )
