"""What Prometheus reads: the same numbers, by names and units of the field, whatever people call themselves."""

from __future__ import annotations

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from jupyter_streaminfer.engine import BUCKET_BOUNDS, Engine
from jupyter_streaminfer.engine.metrics.series import LATENCIES
from jupyter_streaminfer.protocol import Metrics
from jupyter_streaminfer.server.prometheus import COUNTERS, GAUGES, LABELLED, PREFIX, EngineCollector
from jupyter_streaminfer.server.prometheus_histograms import NAMES

from .test_connection import GREEDY, is_terminal

HOSTILE = ['a"} 1\nevil_total 7\n', "back\\slash", "\ud800 lone", "x" * 10_000, "line\r\u2028\u0000", "<script>"]


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Our samples by name and labels."""
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }


def labels(**given: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(given.items()))


def test_no_number_is_forgotten() -> None:
    """A field that `Metrics` gains is to be shown to Prometheus, too."""
    otherwise = {"at", "loop_lag_ms", "alerts", "load_ms", "traffic", "latencies", "models", "clients"}
    assert {*GAUGES, *COUNTERS, *LABELLED} | otherwise == {field.name for field in msgspec.structs.fields(Metrics)}
    assert set(NAMES) == {*LATENCIES, "batch_size", "load_ms"}


async def test_it_shows_what_the_engine_measured(jp_fetch, request_api, engine: Engine, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=20)
    await socket.receive_until(is_terminal)
    await socket.ask(type="generate", id="n", model="nope", prompt="a")
    await socket.ask(type="predict", id="p", model="digits", inputs=[[0.0] * 64] * 3)
    _, answer = await request_api("api", "metrics")
    metrics = msgspec.convert(answer, Metrics)
    seen = read((await jp_fetch("metrics")).body.decode())

    tiny = {"model_name": "tiny", "version": "1", "arm": ""}
    digits = {**tiny, "model_name": "digits"}
    assert seen["generation_tokens_total", labels(**tiny)] == 20
    assert seen["request_success_total", labels(**tiny, finished_reason="length")] == 1
    assert seen["requests_total", labels(**digits)] == 1
    assert seen["requests_ended_total", labels(**digits, outcome="completed")] == 1
    nowhere = {"model_name": "", "version": "", "arm": ""}
    assert seen["request_errors_total", labels(**nowhere, code="model_not_found")] == 1
    (client,) = [row.client for row in metrics.clients]
    assert seen["client_requests_total", labels(client=client)] == metrics.traffic.requests == 2
    assert seen["batch_size_sum", labels(**digits)] == 3

    itl = metrics.latencies.itl_ms
    assert itl is not None
    assert seen["inter_token_latency_seconds_count", labels(**tiny)] == itl.count == 19
    total = seen["inter_token_latency_seconds_sum", labels(**tiny)]
    assert total == pytest.approx(itl.mean * itl.count / 1000, abs=itl.count * 1e-6)
    (stream,) = engine.streams()
    (delta,) = engine.stream(stream.stream).events(0, 19)
    for bound in BUCKET_BOUNDS:
        gaps = [after - before for before, after in zip(delta.at_ms, delta.at_ms[1:], strict=False)]
        shown = seen["inter_token_latency_seconds_bucket", labels(**tiny, le=repr(bound / 1000))]
        assert shown == sum(gap <= bound for gap in gaps)
    assert stream.ttft_ms is not None
    assert seen["time_to_first_token_seconds_sum", labels(**tiny)] == pytest.approx(stream.ttft_ms / 1000)
    assert seen["model_load_time_seconds_count", ()] == 2


async def test_a_name_made_to_break_a_label_breaks_nothing() -> None:
    engine, registry = Engine(), CollectorRegistry()
    registry.register(EngineCollector(lambda: engine))
    for name in HOSTILE:
        engine._meter.client(name).completed += 1
    text = generate_latest(registry).decode()
    assert max(map(len, text.splitlines())) < 300
    seen = read(text)
    shown = [dict(found)["client"] for name, found in seen if name == "client_requests_total"]
    assert len(shown) == len(HOSTILE)
    assert "back\\slash" in shown
    assert all(name.isprintable() and len(name) <= 80 for name in shown)
    assert not any(line.startswith("evil") for line in text.splitlines())
    assert msgspec.json.decode(msgspec.json.encode(engine.metrics()), type=Metrics).traffic.open == 0
    await engine.close()
