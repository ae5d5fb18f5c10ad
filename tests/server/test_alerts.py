"""Alerts over REST, from the configuration, and where they show."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine, sampler
from jupyter_streaminfer.server.app import StreaminferApp

from .conftest import TIMEOUT_S
from .test_connection import GREEDY

ALWAYS = {"metric": "memory_bytes", "above": 0}
NEVER = {"metric": "error_rate", "above": 1.0, "for_s": 5.0, "model": "tiny"}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample comes sooner than after a second."""
    monkeypatch.setattr(sampler, "INTERVAL_S", 0.05)


def put(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"method": "PUT", "body": json.dumps({"rules": rules})}


async def test_rules_are_set_and_read(engine: Engine, request_api) -> None:
    assert await request_api("api", "alerts") == (200, {"alerts": []})
    status, answer = await request_api("api", "alerts", **put(ALWAYS, NEVER))
    assert status == 200
    always, never = answer["alerts"]
    assert (always["name"], always["rule"], always["configured"]) == ("memory above 0 MiB", ALWAYS, False)
    assert (never["name"], never["rule"]) == ("tiny: error rate above 100 % for 5 s", NEVER)
    assert not always["firing"]
    async with asyncio.timeout(TIMEOUT_S):
        while not (answer := (await request_api("api", "alerts"))[1])["alerts"][0]["firing"]:
            pass
    assert [alert["fired"] for alert in answer["alerts"]] == [1, 0]
    assert answer["alerts"][0]["value"] > 0
    firing = (await request_api("api", "metrics"))[1]["alerts"]
    assert [alert["name"] for alert in firing] == ["memory above 0 MiB"]
    assert await request_api("api", "alerts", **put()) == (200, {"alerts": []})
    assert (await request_api("api", "metrics"))[1]["alerts"] == []


async def test_what_is_no_rule_is_refused(engine: Engine, request_api) -> None:
    await request_api("api", "alerts", **put(NEVER))
    for rule, field in (
        ({"metric": "speed", "above": 1}, "rules[0].metric"),
        ({"metric": "waiting"}, "rules[0]"),
        ({"metric": "waiting", "above": 1, "below": 2}, "rules[0].below"),
        ({"metric": "waiting", "above": -1}, "rules[0].above"),
        ({"metric": "waiting", "above": 1, "for_s": 1e9}, "rules[0].for_s"),
        ({"metric": "waiting", "above": 1, "name": "\u0000"}, "rules[0].name"),
        ({"metric": "loop_lag_ms", "above": 1, "model": "tiny"}, "rules[0].model"),
    ):
        status, error = await request_api("api", "alerts", **put(rule))
        assert (status, error["code"], error["field"].startswith(field)) == (400, "invalid_request", True), error
    assert (await request_api("api", "alerts", **put(*[NEVER] * 65)))[0] == 400
    assert [alert["rule"] for alert in (await request_api("api", "alerts"))[1]["alerts"]] == [NEVER]


async def test_asking_keeps_no_idle_server_alive(app: StreaminferApp, jp_serverapp, request_api) -> None:
    settings = jp_serverapp.web_app.settings
    settings.pop("api_last_activity", None)
    await request_api("api", "alerts")
    assert "api_last_activity" not in settings


async def test_the_readers_of_a_models_streams_are_told(engine: Engine, connect, request_api) -> None:
    socket = await connect()
    socket.send(**{**GREEDY, "temperature": 2}, id="g", max_tokens=ENDLESS)
    stream = (await socket.receive_until(lambda each: each["type"] == "delta"))[-1]["stream"]
    slow = {"metric": "itl_p99_ms", "above": 0}
    other, own = {**slow, "model": "digits", "name": "other"}, {**slow, "model": "tiny", "name": "slow <i>"}
    await request_api("api", "alerts", **put(other, own))
    notice = (await socket.receive_until(lambda each: each["type"] == "notice"))[-1]
    assert (notice["stream"], notice["code"]) == (stream, "alert")
    assert notice["message"].startswith("slow <i>: ITL p99 of tiny is ")
    engine.cancel(stream)


class TestConfigured:
    @pytest.fixture
    def config_file(self, jp_config_dir: Path) -> Path:
        file = jp_config_dir / "jupyter_server_config.py"
        file.write_text(f"c.StreaminferApp.alerts = [{ALWAYS!r}]\n")
        return file

    async def test_a_reload_changes_them_and_leaves_the_others(
        self, config_file: Path, app: StreaminferApp, request_api
    ) -> None:
        await asyncio.gather(*app._loads)
        await request_api("api", "alerts", **put(NEVER))

        async def reloaded(text: str) -> tuple[int, list[tuple[bool, Any]]]:
            config_file.write_text(text)
            status, _ = await request_api("api", "reload", method="POST", body=b"")
            alerts = (await request_api("api", "alerts"))[1]["alerts"]
            return status, [(alert["configured"], alert["rule"]) for alert in alerts]

        alerts = [(True, ALWAYS), (False, NEVER)]
        assert await reloaded(config_file.read_text()) == (200, alerts)
        assert await reloaded("c.StreaminferApp.alerts = [{'metric': 'sped', 'above': 5}]\n") == (400, alerts)
        assert await reloaded(f"c.StreaminferApp.alerts = [{NEVER!r}]\n") == (200, [(True, NEVER), (False, NEVER)])
        assert await reloaded("") == (200, [(False, NEVER)])
