"""What the engine carries, in numbers: as JSON, and where Prometheus looks."""

import msgspec
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import Metrics
from jupyter_streaminfer.server.prometheus import PREFIX

from .test_connection import GREEDY, is_terminal


async def scrape(jp_fetch) -> dict[str, float]:
    """Our samples by name and labels, as Prometheus reads them."""
    text = (await jp_fetch("metrics")).body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        " ".join([sample.name.removeprefix(PREFIX), *sample.labels.values()]): sample.value
        for sample in samples
        if sample.name.startswith(PREFIX)
    }


async def test_both_show_the_same(request_api, jp_fetch, engine: Engine, connect) -> None:
    socket = await connect()
    for index in range(3):
        socket.send(**GREEDY, id=f"g{index}", max_tokens=20)
        await socket.receive_until(is_terminal)
    await socket.ask(type="generate", id="bad", model="tiny", prompt="a", max_tokens=10**6)
    status, answer = await request_api("api", "metrics")
    assert status == 200
    metrics = msgspec.convert(answer, Metrics)
    assert (metrics.connections, metrics.admitted >= 3, metrics.streams_kept, metrics.streams_open) == (1, True, 3, 0)
    assert metrics.log_bytes > 0

    seen = await scrape(jp_fetch)
    assert seen["connections"] == 1
    assert seen["streams_kept"] == 3
    assert seen["requests_admitted_total"] == metrics.admitted
    assert seen["log_bytes"] == metrics.log_bytes
    assert metrics.refused == {
        name.split()[1]: count for name, count in seen.items() if name.startswith("requests_refused_total ")
    }
    assert seen["num_requests_running tiny 1"] == 0
    assert 0 <= seen["kv_cache_usage_perc tiny 1"] <= 1
    assert "num_requests_running digits 1" not in seen, "a predictor has no scheduler"


async def test_they_go_with_the_extension(app, jp_fetch) -> None:
    assert await scrape(jp_fetch)
    collectors = set(REGISTRY._collector_to_names)
    await app.stop_extension()
    assert await scrape(jp_fetch) == {}
    assert set(REGISTRY._collector_to_names) == collectors - {app._collector}


async def test_asking_keeps_no_idle_server_alive(app, jp_serverapp, request_api) -> None:
    settings = jp_serverapp.web_app.settings
    settings.pop("api_last_activity", None)
    await request_api("api", "metrics")
    assert "api_last_activity" not in settings
    await request_api("api", "models")
    assert "api_last_activity" in settings


@pytest.mark.parametrize("path", ["metrics", "health"])
async def test_without_an_engine_there_are_none(app, request_api, path: str) -> None:
    await app.stop_extension()
    status, error = await request_api("api", path)
    assert (status, error["code"], error["retryable"]) == (503, "overloaded", True)
