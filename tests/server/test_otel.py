"""OpenTelemetry: a real OTLP/HTTP receiver gets the figures of what a real server did.

The packages are imported here: the extension does it on a thread, and pytest once went through all modules meanwhile.
"""

import asyncio
import gzip
import http.server
import queue
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import opentelemetry.exporter.otlp.proto.http.metric_exporter
import opentelemetry.sdk.metrics.view  # noqa: F401 (see above)
import pytest
from msgspec import structs
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from jupyter_streaminfer.engine import Engine, Stream
from jupyter_streaminfer.protocol import Generate
from jupyter_streaminfer.server import otel
from jupyter_streaminfer.server.app import StreaminferApp
from jupyter_streaminfer.server.otel_instruments import DURATION, FIRST_TOKEN, MAX_MODELS, PER_TOKEN

from .conftest import TIMEOUT_S, ended, logged
from .test_connection import GREEDY, is_terminal


class Receiver:
    """Takes exports, and knows the last value of each figure."""

    def __init__(self) -> None:
        self.exports: queue.Queue[ExportMetricsServiceRequest] = queue.Queue()
        self.silent = threading.Event()
        """Set: it answers nothing any more."""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.silent.is_set():
                    receiver.released.wait(TIMEOUT_S)
                    return
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.exports.put(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Nothing."""

        self.released = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    async def receive(self) -> dict[str, list[Any]]:
        """The points of the next export, by the name of their metric; the service's name under ``service``."""
        request = await asyncio.to_thread(self.exports.get, True, TIMEOUT_S)
        points: dict[str, list[Any]] = {}
        for resource in request.resource_metrics:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            points["service"] = [about["service.name"]]
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    points[metric.name] = list(getattr(metric, kind).data_points)
        return points


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "notebooks")
    yield receiver
    receiver.close()


@pytest.fixture
def extension_traits(receiver: Receiver) -> dict[str, Any]:
    return {"opentelemetry": True}


def labels(point: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in point.attributes}


async def test_the_figures_are_those_of_the_streams(
    engine: Engine, app: StreaminferApp, receiver: Receiver, connect
) -> None:
    await asyncio.gather(*app._loads)
    socket = await connect()
    for index in range(3):
        socket.send(**GREEDY, id=f"g{index}", max_tokens=10)
        await socket.receive_until(is_terminal)
    statuses = engine.streams()
    points: dict[str, list[Any]] = {}
    while DURATION not in points:
        points = await receiver.receive()
    assert points["service"] == ["notebooks"]
    for name, of in ((DURATION, "duration_ms"), (FIRST_TOKEN, "ttft_ms"), (PER_TOKEN, "itl_mean_ms")):
        while points[name][0].count < 3:
            points = await receiver.receive()
        [point] = points[name]
        assert point.count == 3
        assert point.sum == pytest.approx(sum(getattr(each, of) for each in statuses) / 1000)
        assert labels(point) == {
            "gen_ai.provider.name": "jupyter_streaminfer",
            "gen_ai.operation.name": "text_completion",
            "gen_ai.request.model": "tiny",
        }
    bounds = list(points[FIRST_TOKEN][0].explicit_bounds)
    assert bounds[:3] == [0.001, 0.005, 0.01]
    while points["streaminfer.streams.open"][0].as_int or not points["streaminfer.connections"][0].as_int:
        points = await receiver.receive()
    [connections] = points["streaminfer.connections"]
    assert (connections.as_int, labels(connections)) == (1, {"gen_ai.provider.name": "jupyter_streaminfer"})
    [lag] = points["streaminfer.event_loop.lag"]
    assert lag.as_double >= 0


async def test_the_last_figures_are_sent_at_the_end(
    app: StreaminferApp, engine: Engine, receiver: Receiver, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*app._loads)
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=100_000)
    await socket.receive_until(lambda each: each["type"] == "delta")
    app.drain_s = 0.0
    await app.stop_extension()
    points: dict[str, list[Any]] = {}
    while not receiver.exports.empty():
        points = await receiver.receive()
    [point] = points[DURATION]
    assert (point.count, labels(point)["error.type"]) == (1, "cancelled_shutdown")
    assert FIRST_TOKEN not in points, "of completed ones alone"
    outcomes = {labels(each)["streaminfer.outcome"]: each.as_int for each in points["streaminfer.requests.ended"]}
    assert outcomes["cancelled"] == 1
    assert "OtelPeriodicExportingMetricReader" not in {thread.name for thread in threading.enumerate()}


async def test_a_receiver_that_hangs_holds_up_nobody(
    app: StreaminferApp, receiver: Receiver, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "STOP_S", 0.2)
    await asyncio.gather(*app._loads)
    await receiver.receive()
    receiver.silent.set()
    began = time.monotonic()
    await app.stop_extension()
    assert time.monotonic() - began < app.stop_timeout_s
    assert "could not be sent" in logged(caplog)


async def test_models_without_end_are_counted_together(app: StreaminferApp, receiver: Receiver, engine: Engine) -> None:
    await asyncio.gather(*app._loads)
    assert app._telemetry is not None
    status = (await _ended(engine)).status()
    for index in range(2 * MAX_MODELS):
        app._telemetry.stream_ended(structs.replace(status, model=f'm{index}"\n'))
    points: dict[str, list[Any]] = {}
    while sum(point.count for point in points.get(DURATION, [])) < 2 * MAX_MODELS + 1:
        points = await receiver.receive()
    counts = {labels(point)["gen_ai.request.model"]: point.count for point in points[DURATION]}
    assert len(counts) == MAX_MODELS + 1
    assert counts["other"] == MAX_MODELS + 1


async def _ended(engine: Engine) -> Stream:
    stream = await engine.generate(Generate("g", "tiny", prompt="a", max_tokens=2, ignore_eos=True))
    await ended(stream)
    return stream


class TestWithoutThePackages:
    @pytest.fixture(autouse=True)
    def _not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)

    async def test_it_says_what_to_install_and_goes_on(self, app: StreaminferApp, engine: Engine, request_api) -> None:
        with pytest.raises(otel.MissingPackagesError, match=r'pip install "jupyter_streaminfer\[otel\]"'):
            await otel.Telemetry(engine).start()
        await asyncio.gather(*app._loads, return_exceptions=True)
        assert app._telemetry is not None
        app._telemetry.stream_ended((await _ended(engine)).status())
        assert not app._telemetry._ended, "what nobody will take is not kept"
        assert (await request_api("api", "metrics"))[1]["watchers"] == 0
