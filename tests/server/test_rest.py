"""The REST addresses: what they answer, and what they refuse."""

import asyncio
import json
from pathlib import Path

import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import MAX_MESSAGE_BYTES

from .test_connection import GREEDY, is_terminal


async def test_a_model_from_load_to_unload(request_api, app, tiny_llama: Path) -> None:
    assert await request_api("api", "models") == (200, {"models": []})
    body = json.dumps({"name": "mine", "path": str(tiny_llama)})
    status, loaded = await request_api("api", "models", method="POST", body=body, request_timeout=120)
    assert (status, loaded["name"], loaded["state"]) == (200, "mine", "ready")
    assert loaded["info"]["task"] == "generate"
    status, one = await request_api("api", "models", "mine")
    [listed] = (await request_api("api", "models"))[1]["models"]
    assert status == 200
    for later in (one, listed):
        assert loaded == later | {"age_s": loaded["age_s"], "idle_s": loaded["idle_s"]}
        assert later["age_s"] >= loaded["age_s"]
    assert await request_api("api", "models", "mine", method="DELETE") == (204, None)
    status, error = await request_api("api", "models", "mine")
    assert (status, error["code"], error["retryable"]) == (404, "model_not_found", False)


async def test_unloading_ends_the_models_streams(request_api, engine: Engine, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=ENDLESS)
    await socket.receive()
    assert (await request_api("api", "models", "tiny", method="DELETE"))[0] == 204
    ended = (await socket.receive_until(is_terminal))[-1]
    assert (ended["type"], ended["reason"]) == ("cancelled", "unload")


async def test_a_stream_can_be_listed_read_and_cancelled(request_api, engine: Engine, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=ENDLESS)
    id = (await socket.receive())["stream"]
    [listed] = (await request_api("api", "streams"))[1]["streams"]
    assert (listed["stream"], listed["state"], listed["consumers"]) == (id, "open", 1)
    assert await request_api("api", "streams", id, method="DELETE") == (204, None)
    await socket.receive_until(is_terminal)
    status, document = await request_api("api", "streams", id)
    assert (status, document["status"]["state"]) == (200, "cancelled")
    assert document["text"] == engine.stream(id).text
    assert [event["type"] for event in document["events"]][-1] == "cancelled"
    assert (await request_api("api", "streams", "st_never"))[1]["code"] == "stream_not_found"


BAD_BODIES = {
    "no JSON": (b"{", None, "not JSON"),
    "empty": (b"", None, "not JSON"),
    "no name": (b"{}", "name", "name"),
    "unknown field": (b'{"name":"a","pth":"b"}', "pth", "spelling"),
    "wrong type": (b'{"name":5}', "name", "str"),
    "name that is a path": (b'{"name":"../a"}', "name", "letters"),
    "no such folder": (b'{"name":"a","path":"/no/such/folder"}', "path", "config.json"),
    "no UTF-8": (b'{"name":"\xff"}', None, "UTF-8"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_refused(request_api, app, name: str) -> None:
    body, field, words = BAD_BODIES[name]
    status, error = await request_api("api", "models", method="POST", body=body)
    assert (status, error["code"], error.get("field"), error["retryable"]) == (400, "invalid_request", field, False)
    assert words in error["message"]


async def test_a_body_that_says_it_is_too_large_is_not_read(
    app, jp_http_port: int, jp_base_url: str, jp_auth_header, http_server
) -> None:
    """The answer comes while not a byte of the body was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
    writer.write(
        f"POST {jp_base_url}streaminfer/api/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: {jp_auth_header['Authorization']}\r\nContent-Length: {MAX_MESSAGE_BYTES + 1}\r\n\r\n".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert head.startswith(b"HTTP/1.1 413")
    assert json.loads(await asyncio.wait_for(reader.readuntil(b"}"), 30))["code"] == "too_large"
    writer.close()


async def test_a_chunked_body_that_is_too_large_is_refused(request_api, app) -> None:
    async def chunks(write) -> None:
        for _ in range(MAX_MESSAGE_BYTES // 2**20 + 2):
            await write(b" " * 2**20)

    status, error = await request_api("api", "models", method="POST", body_producer=chunks)
    assert (status, error["code"]) == (413, "too_large")


async def test_health(request_api, engine: Engine, connect) -> None:
    await connect()
    status, health = await request_api("api", "health")
    assert (status, health["status"], health["models"], health["connections"]) == (200, "ok", 2, 1)


async def test_everything_is_unavailable_once_the_extension_stopped(request_api, app) -> None:
    await app.stop_extension()
    for path in ("health", "models", "streams"):
        status, error = await request_api("api", path)
        assert (status, error["code"], error["retryable"]) == (503, "overloaded", True)


async def test_an_unsupported_method_is_told_in_our_shape(request_api, app) -> None:
    status, error = await request_api("api", "health", method="PUT", body=b"")
    assert (status, error["code"]) == (405, "invalid_request")
