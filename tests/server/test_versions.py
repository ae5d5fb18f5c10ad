"""``api/models/NAME/versions`` and ``route``: swap, activate, roll back, split."""

import asyncio
import json
from pathlib import Path
from typing import Any

from jupyter_streaminfer.server.app import StreaminferApp


def post(**body: Any) -> dict[str, Any]:
    return {"method": "POST", "body": json.dumps(body) if body else b""}


async def latest(request_api, name: str = "mine") -> str:
    return str((await request_api("api", "models", name))[1]["version"])


async def test_versions_come_take_over_and_go(request_api, app: StreaminferApp, digits: Path) -> None:
    await request_api("api", "models", **post(name="mine", path=str(digits)))
    versions = ("api", "models", "mine", "versions")
    status, second = await request_api(*versions, **post(path=str(digits)))
    assert (status, second["version"], second["state"], second["latest"]) == (200, "2", "ready", True)
    status, trial = await request_api(*versions, **post(path=str(digits), version="trial", activate=False))
    assert (status, trial["state"], trial["latest"]) == (200, "ready", False)
    assert await latest(request_api) == "2"
    listed = (await request_api(*versions))[1]
    assert {"2", "trial"} <= {each["version"] for each in listed["versions"]}
    assert listed["stored"] == []

    assert (await request_api(*versions, "trial", "activate", **post()))[1]["version"] == "trial"
    assert await latest(request_api) == "trial"
    assert (await request_api("api", "models", "mine", "rollback", **post()))[1]["version"] == "2"
    assert await latest(request_api) == "2"
    assert (await request_api(*versions, "latest"))[1]["version"] == "2"

    await request_api(*versions, **post(path=str(digits), version="other", activate=False))
    assert await request_api(*versions, "other", method="DELETE") == (204, None)
    status, error = await request_api(*versions, "other")
    assert (status, error["code"]) == (404, "model_not_found")


async def test_a_swap_need_not_be_waited_for(request_api, app: StreaminferApp, digits: Path) -> None:
    await request_api("api", "models", **post(name="mine", path=str(digits)))
    asked = {"params": {"wait": "false"}, **post(path=str(digits))}
    status, begun = await request_api("api", "models", "mine", "versions", **asked)
    assert (status, begun["version"], begun["state"]) == (202, "2", "loading")
    await asyncio.wait_for(asyncio.gather(*app._loads), 30)
    assert await latest(request_api) == "2"


async def test_a_broken_version_leaves_the_old_one_serving(
    request_api, app: StreaminferApp, digits: Path, tmp_path: Path
) -> None:
    await request_api("api", "models", **post(name="mine", path=str(digits)))
    (tmp_path / "config.json").write_text('{"architectures": ["MlpClassifier"]}')
    status, error = await request_api("api", "models", "mine", "versions", **post(path=str(tmp_path)))
    assert (status, error["code"]) == (400, "invalid_request")
    assert (await request_api("api", "models", "mine"))[1]["state"] == "ready"
    assert await latest(request_api) == "1"


async def test_what_is_not_there_says_so(request_api, app: StreaminferApp, digits: Path) -> None:
    status, error = await request_api("api", "models", "nope", "versions")
    assert (status, error["code"]) == (404, "model_not_found")
    await request_api("api", "models", **post(name="mine", path=str(digits)))
    status, error = await request_api("api", "models", "mine", "rollback", **post())
    assert (status, error["code"]) == (400, "invalid_request")
    status, error = await request_api("api", "models", "mine", "versions", **post(path=str(digits), version="../2"))
    assert (status, error["field"]) == (400, "version")


async def test_a_route_from_put_to_delete(request_api, app: StreaminferApp, digits: Path) -> None:
    await request_api("api", "models", **post(name="mine", path=str(digits)))
    await request_api("api", "models", "mine", "versions", **post(path=str(digits), activate=False))
    route = ("api", "models", "mine", "route")
    arms = {"arms": [{"version": "1", "weight": 0.9}, {"version": "2", "weight": 0.1}]}
    status, set = await request_api(*route, method="PUT", body=json.dumps(arms))
    assert (status, [arm["version"] for arm in set["arms"]]) == (200, ["1", "2"])
    assert (await request_api(*route))[1]["route"] == arms
    arms["arms"][1]["weight"] = 0.2
    status, error = await request_api(*route, method="PUT", body=json.dumps(arms))
    assert (status, error["code"]) == (400, "invalid_request")
    assert error["field"].startswith("arms")
    assert await request_api(*route, method="DELETE") == (204, None)
