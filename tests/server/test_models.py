"""``api/models``: load, configure and unload a model; waiting for it or not."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError

from jupyter_streaminfer.server.app import StreaminferApp

from .conftest import logged


def load(path: Path | str, name: str = "mine", **fields: Any) -> dict[str, Any]:
    return {"method": "POST", "body": json.dumps({"name": name, "path": str(path), **fields})}


async def in_the_background(app: StreaminferApp) -> None:
    await asyncio.wait_for(asyncio.gather(*app._loads, return_exceptions=True), 30)


async def test_a_load_need_not_be_waited_for(request_api, app: StreaminferApp, digits: Path) -> None:
    status, begun = await request_api("api", "models", params={"wait": "false"}, **load(digits, version="v1"))
    assert (status, begun["name"], begun["version"], begun["state"]) == (202, "mine", "v1", "loading")
    await in_the_background(app)
    status, ready = await request_api("api", "models", "mine")
    assert (status, ready["state"], ready["version"], ready["latest"]) == (200, "ready", "v1", True)
    assert (await request_api("api", "models", params={"wait": "0"}, **load(digits)))[1]["state"] == "ready"


async def test_what_is_refused_unread_is_refused_at_once(request_api, app: StreaminferApp) -> None:
    for body in (load("/no/such/folder"), load("x", name="..")):
        status, error = await request_api("api", "models", params={"wait": "false"}, **body)
        assert (status, error["code"]) == (400, "invalid_request")
    status, error = await request_api("api", "models", params={"wait": "perhaps"}, **load("x"))
    assert (status, error["field"]) == (400, "wait")
    assert await request_api("api", "models") == (200, {"models": []})


async def test_a_load_that_fails_in_the_background_is_listed_and_logged(
    request_api, app: StreaminferApp, tmp_path: Path, caplog
) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["MlpClassifier"]}')
    assert (await request_api("api", "models", params={"wait": "false"}, **load(tmp_path)))[0] == 202
    await in_the_background(app)
    failed = (await request_api("api", "models", "mine"))[1]
    assert failed["state"] == "failed"
    assert "config.json" in failed["error"]["message"]
    assert failed["error"]["message"] in logged(caplog)


async def test_settings_can_be_changed(request_api, app: StreaminferApp, digits: Path) -> None:
    await request_api("api", "models", **load(digits))
    patch = {"method": "PATCH", "body": b'{"pinned":true,"max_wait_ms":0.5}'}
    status, changed = await request_api("api", "models", "mine", **patch)
    assert (status, changed["pinned"]) == (200, True)
    assert (await request_api("api", "models", "mine"))[1]["pinned"] is True
    for body, field in ((b'{"max_batch_size":0}', "max_batch_size"), (b'{"pined":true}', "pined")):
        status, error = await request_api("api", "models", "mine", method="PATCH", body=body)
        assert (status, error["code"], error["field"]) == (400, "invalid_request", field)


class TestTheConfiguredOnes:
    @pytest.fixture
    def extension_traits(self, digits: Path) -> dict[str, Any]:
        return {"models": {"mine": {"path": str(digits), "version": "7", "pinned": True}, "lost": {"path": "/nope"}}}

    async def test_they_are_loaded_at_the_start(self, request_api, app: StreaminferApp, caplog) -> None:
        await in_the_background(app)
        status, mine = await request_api("api", "models", "mine")
        assert (status, mine["state"], mine["version"], mine["pinned"]) == (200, "ready", "7", True)
        assert "'lost'" in logged(caplog)
        assert (await request_api("api", "health"))[0] == 200


@pytest.mark.parametrize("fields", [{"pth": "x"}, {"path": 5}, {"dtype": "float8"}, {"signature": {"inputs": 3}}])
def test_a_model_that_cannot_be_configured_is_refused_by_its_name(fields: dict[str, Any]) -> None:
    with pytest.raises(TraitError, match="'mine'"):
        StreaminferApp(models={"mine": fields})
