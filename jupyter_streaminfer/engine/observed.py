"""The engine's part that tells what it does: figures, samples of them, alerts."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from msgspec import Raw, structs

from jupyter_streaminfer.engine.admission import Admission
from jupyter_streaminfer.engine.alerts import Alerts
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.counts import Counts
from jupyter_streaminfer.engine.lifecycle import Lifecycle
from jupyter_streaminfer.engine.metrics import Histogram, Meter, ModelKey, distribution
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.engine.oddities import Oddities
from jupyter_streaminfer.engine.sampler import OnTick, Sampler
from jupyter_streaminfer.engine.stream_task import CancelReason
from jupyter_streaminfer.engine.streams import StreamTable
from jupyter_streaminfer.engine.traffic import Traffic
from jupyter_streaminfer.protocol import Alert, AlertRule, Metrics, StreamsSample, StreamStatus

MAX_LISTED = 200
"""Streams in a sample: with thousands of them it is no longer, and takes the loop no longer, than with these."""

_metrics = msgspec.json.Decoder(Metrics).decode


class Observed(Lifecycle):
    """What is measured of streams, requests and models, and who is told."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._streams = StreamTable(config, lambda stream: self._cancel(stream.id, "abandoned"))
        self._admission = Admission(config)
        self._traffic = Traffic(config, self._registry, self._admission, self._begin, self._finish)
        self._counts = Counts()
        self._meter = Meter()
        self._sampler = Sampler(self._sample, self.models, self._streams_sample)
        self._oddities = Oddities()
        self._alerts = Alerts(self._alerted)
        self.connections: Callable[[], int] = lambda: 0
        """How many connections whoever serves the engine has."""
        self.watchers_dropped = 0
        """Watchers of samples that stopped reading them, counted by who serves them."""
        self.on_stream_end: Callable[[StreamStatus], None] = lambda status: None
        """Told once of each stream that ended."""
        self.on_alert: Callable[[Alert], None] = lambda alert: None
        """Told of each alert that begins or ends."""

    def metrics(self) -> Metrics:
        """What the engine carries and what it had to do about it."""
        admission, load, counts, loads = self._admission, self._pressure.last, self._counts, self._registry.counts
        models = list(self._registry)
        self._meter.look(models)
        return Metrics(
            at=time.time(),
            connections=self.connections(),
            streams_open=self._streams.open,
            streams_kept=len(self._streams),
            streams_paused=sum(stream.paused for stream in self._streams),
            log_bytes=self._streams.log_bytes,
            active_clients=admission.clients,
            pending=admission.pending,
            queued_tokens=admission.queued_tokens,
            tokens_per_second=round(admission.tokens_per_second, 1),
            memory_bytes=load.memory_bytes,
            loop_lag_ms=round(self._lag.worst_ms, 2),
            admitted=admission.admitted,
            refused=dict(admission.refused),
            deadlines=dict(counts.deadlines),
            slow_consumers=counts.slow_consumers,
            pauses=counts.pauses,
            retries=counts.retries,
            restarts=loads.restarts,
            cache_hits=self._traffic.cache.hits,
            cache_misses=self._traffic.cache.misses,
            cache_bytes=self._traffic.cache.bytes,
            swaps=loads.swaps,
            loads=dict(loads.ended),
            load_ms=distribution(loads.took_ms),
            watchers=self._sampler.watchers,
            watchers_dropped=self.watchers_dropped,
            traffic=self._meter.traffic(),
            latencies=self._meter.latencies(),
            models=self._meter.models(models),
            clients=self._meter.clients(),
            odd=dict(self._oddities.counts),
            alerts=self._alerts.firing(),
            gpu_utilisation=load.gpu_utilisation,
            gpu_memory_used=load.gpu_memory_used,
        )

    def histograms(self) -> list[Histogram]:
        """All that was ever measured of each kind of duration and size, by model, version and arm."""
        self._meter.look(self._registry)
        return [*self._meter.histograms(), Histogram(None, "load_ms", self._registry.counts.took_ms.buckets())]

    def finish_reasons(self) -> list[tuple[ModelKey, dict[str, int]]]:
        """The streams of each model, version and arm that completed, by their finish reason."""
        return self._meter.finish_reasons()

    def watch(self, on_tick: OnTick) -> Callable[[], None]:
        """Have ``on_tick`` told of a sample each second, until what this returns is called."""
        self._sampler.start()
        return self._sampler.watch(on_tick)

    def history(self, seconds: float) -> list[Metrics]:
        """The samples of the last so many seconds, the oldest first.

        Those of ten minutes and twenty models take a tenth of a second: an event loop has `history_texts`.
        """
        return [_metrics(text) for text in self.history_texts(seconds)]

    def history_texts(self, seconds: float) -> list[Raw]:
        """The same, each as the JSON text that it is kept as."""
        return self._sampler.history(seconds)

    def alerts(self) -> list[Alert]:
        """The rules and how they stand, those of the configuration first."""
        return self._alerts.all()

    def set_alerts(self, rules: list[AlertRule], configured: bool = False) -> list[Alert]:
        """Have these rules instead of those set before; those of the configuration are others. Returns `alerts`."""
        self._alerts.set(rules, configured=configured)
        if rules:
            self._sampler.start()
        return self.alerts()

    def _start(self) -> None:
        super()._start()
        self._sampler.start()

    def _sample(self) -> Metrics:
        """The metrics of this second, once the streams and the alerts were looked at."""
        self._meter.sample()
        metrics, now = self.metrics(), time.monotonic()
        self._oddities.look(self._streams.opened(), metrics, now)
        self._alerts.look(metrics, now)
        return structs.replace(metrics, odd=dict(self._oddities.counts), alerts=self._alerts.firing())

    def _alerted(self, alert: Alert) -> None:
        model = alert.rule.model
        for stream in self._streams.opened() if alert.firing else ():
            if model is None or stream.model == model:
                stream.notice("alert", f"{alert.name}: {alert.message}")
        self.on_alert(alert)

    def _streams_sample(self) -> StreamsSample:
        listed, left_out = self._streams.newest(MAX_LISTED)
        return StreamsSample([stream.status() for stream in listed], left_out, self._streams.open)

    # What the whole engine knows.

    def _begin(self, model: Model) -> None:
        raise NotImplementedError

    def _finish(self, model: Model) -> None:
        raise NotImplementedError

    def _cancel(self, id: str, reason: CancelReason) -> None:
        raise NotImplementedError
