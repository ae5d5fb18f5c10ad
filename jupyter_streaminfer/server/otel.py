"""The engine's figures for OpenTelemetry, sent over OTLP/HTTP to whom the ``OTEL_*`` variables name."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from jupyter_streaminfer.engine import Engine, Tick
from jupyter_streaminfer.protocol import Metrics, StreamStatus
from jupyter_streaminfer.server.otel_instruments import Histograms, observe, views

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider

SERVICE = "jupyter_streaminfer"
"""What the service is called where the variables say nothing."""
MAX_WAITING = 20_000
"""Ended streams that wait for the next export; beyond it the oldest are lost, and that is logged."""
STOP_S = 2.0
"""How long the last export may take."""

_log = logging.getLogger(__name__)


class MissingPackagesError(Exception):
    """OpenTelemetry's packages are not installed."""

    def __init__(self) -> None:
        super().__init__(
            "c.StreaminferApp.opentelemetry needs packages that are not installed, so nothing is sent. Install them "
            '(pip install "jupyter_streaminfer[otel]") and restart the server.'
        )


class Telemetry:
    """Hands samples and ended streams to OpenTelemetry's own thread, which makes figures of them and sends these.

    The event loop keeps the latest sample and a list of what ended: nothing else is done there.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._latest = engine.metrics()
        self._unwatch = engine.watch(self._told)
        self._ended: deque[StreamStatus] = deque(maxlen=MAX_WAITING)
        self._lost = 0
        self._histograms: Histograms
        self._exporter: OTLPMetricExporter
        self._provider: MeterProvider | None = None

    async def start(self) -> None:
        """Begin to send; raises `MissingPackagesError`."""
        try:
            self._provider = await asyncio.to_thread(self._provide)
        except ImportError:
            self._unwatch()
            self._ended = deque(maxlen=0)
            raise MissingPackagesError from None

    def stream_ended(self, status: StreamStatus) -> None:
        """Count an ended stream in with the next export."""
        self._lost += len(self._ended) == MAX_WAITING
        self._ended.append(status)

    async def stop(self) -> None:
        """Send what there is once more, within `STOP_S`."""
        self._unwatch()
        self._latest = self._engine.metrics()
        provider, self._provider = self._provider, None
        if provider is None:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def stop() -> None:
            try:
                provider.shutdown()
            except Exception as error:
                _log.warning("The last figures could not be sent: %s", error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, done)

        # No pool's thread: the interpreter would wait for it at its end.
        threading.Thread(target=stop, name="streaminfer-otel-stop", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_S):
                await done
        except TimeoutError:
            _log.warning("The last figures could not be sent within %g s.", STOP_S)
            self._exporter.shutdown()  # or it would try again and again

    def _told(self, tick: Tick) -> None:
        self._latest = tick.metrics

    # On other threads.

    def _provide(self) -> MeterProvider:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource

        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
        self._exporter = OTLPMetricExporter()
        reader = PeriodicExportingMetricReader(self._exporter)
        provider = MeterProvider([reader], resource, shutdown_on_exit=False, views=views())
        meter = provider.get_meter(SERVICE)
        self._histograms = Histograms(meter)
        observe(meter, self._read)
        return provider

    def _read(self) -> Metrics:
        """The latest sample, once what ended is counted in: the histograms are sent after what asks for this."""
        while self._ended:
            self._histograms.add(self._ended.popleft())
        if self._lost:
            _log.warning("%d ended streams were not counted: too many ended between two exports.", self._lost)
            self._lost = 0
        return self._latest


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
