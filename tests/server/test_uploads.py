"""Models on their way into the store and out of it again, over HTTP."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from jupyter_streaminfer.protocol import MAX_CHUNK_BYTES
from jupyter_streaminfer.server.app import StreaminferApp

CLIENT = {"X-Streaminfer-Client": "trainer"}


def announced(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    ]


@pytest.fixture
def files(digits: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(digits.iterdir())}


@pytest.fixture
def begin(request_api):
    async def begin(files: dict[str, bytes], **options: Any) -> dict[str, Any]:
        body = json.dumps({"name": "net", "files": announced(files), **options})
        status, upload = await request_api("api", "uploads", method="POST", headers=dict(CLIENT), body=body)
        assert status == 201, upload
        return upload

    return begin


@pytest.fixture
def put(request_api):
    async def put(
        id: str, file: str, body: bytes, headers: Mapping[str, str] = CLIENT, **params: Any
    ) -> tuple[int, Any]:
        return await request_api(
            "api", "uploads", id, "files", file, method="PUT", body=body, params=params, headers={**CLIENT, **headers}
        )

    return put


@pytest.fixture
def stored(request_api, begin, put, files: dict[str, bytes]):
    async def stored(files: dict[str, bytes] = files) -> dict[str, Any]:
        upload = await begin(files)
        for name, data in files.items():
            await put(upload["id"], name, data)
        status, model = await request_api(
            "api", "uploads", upload["id"], "commit", method="POST", body=b"", headers=dict(CLIENT)
        )
        assert status == 201, model
        return model

    return stored


async def test_a_model_goes_up_in_parts_is_loaded_and_comes_down(
    request_api, app: StreaminferApp, begin, put, files, jp_fetch, jp_data_dir: Path
) -> None:
    upload = await begin(files)
    id, weights = upload["id"], files["model.safetensors"]
    assert (upload["version"], upload["received"]) == ("1", {"config.json": 0, "model.safetensors": 0})
    assert (await put(id, "config.json", files["config.json"]))[0] == 200
    half = len(weights) // 2
    status, upload = await put(id, "model.safetensors", weights[:half], offset=0)
    assert (status, upload["received"]["model.safetensors"]) == (200, half)
    status, error = await put(id, "model.safetensors", weights, offset=0)
    assert (status, error["field"]) == (409, "offset")
    assert f"has {half} bytes" in error["message"]
    assert (await request_api("api", "uploads", id, headers=dict(CLIENT)))[1] == upload
    content = {"Content-Range": f"bytes {half}-{len(weights) - 1}/{len(weights)}"}
    assert (await put(id, "model.safetensors", weights[half:], content))[0] == 200
    status, model = await request_api("api", "uploads", id, "commit", method="POST", body=b"", headers=dict(CLIENT))
    assert (status, model["version"]) == (201, "1")
    assert model["path"] == str(jp_data_dir / "streaminfer" / "models" / "net" / "1")
    assert model["files"] == announced(files)

    body = json.dumps({"name": "net", "path": model["path"], "version": "1"})
    assert (await request_api("api", "models", method="POST", body=body))[1]["state"] == "ready"
    assert (await request_api("api", "models", "net", "versions"))[1]["stored"] == ["1"]
    for version in ("1", "latest"):
        address = ("api", "models", "net", "versions", version, "files")
        assert (await request_api(*address))[1]["files"] == announced(files)
        response = await jp_fetch("streaminfer", *address, "model.safetensors")
        assert response.body == weights
        assert response.headers["ETag"] == f'"{model["files"][1]["sha256"]}"'
        assert response.headers["Content-Type"] == "application/octet-stream"
    status, error = await request_api("api", "models", "net", "versions", "1", "files", method="DELETE")
    assert (status, error["field"]) == (400, "version")
    await request_api("api", "models", "net", method="DELETE")
    assert (await request_api("api", "models", "net", "versions", "1", "files", method="DELETE"))[0] == 204
    assert not Path(model["path"]).exists()


async def test_a_part_of_a_file(app: StreaminferApp, stored, files, jp_fetch, request_api) -> None:
    await stored()
    data = files["model.safetensors"]
    address = ("streaminfer", "api", "models", "net", "versions", "1", "files", "model.safetensors")
    for asked, expected in (
        ("bytes=10-19", data[10:20]),
        ("bytes=10-", data[10:]),
        ("bytes=-7", data[-7:]),
        (f"bytes=0-{len(data) * 2}", data),
    ):
        response = await jp_fetch(*address, headers={"Range": asked})
        assert (response.code, response.body) == (206, expected)
        begin = len(data) - len(expected) if asked.endswith("-7") else int(asked[6:].split("-")[0])
        assert response.headers["Content-Range"] == f"bytes {begin}-{begin + len(expected) - 1}/{len(data)}"
    etag = response.headers["ETag"]
    assert (await jp_fetch(*address, headers={"Range": "bytes=1-", "If-Range": etag})).body == data[1:]
    assert (await jp_fetch(*address, headers={"Range": "bytes=1-", "If-Range": '"other"'})).body == data
    assert (await jp_fetch(*address, headers={"Range": "lines=1-2"})).body == data
    status, error = await request_api(*address[1:], headers={"Range": f"bytes={len(data)}-"})
    assert (status, error["field"]) == (416, "Range")
    with pytest.raises(HTTPClientError) as unchanged:
        await jp_fetch(*address, headers={"If-None-Match": etag})
    assert unchanged.value.code == 304
    assert (await request_api(*address[1:-1], "other.json"))[1]["code"] == "model_not_found"


async def test_only_its_own_client_finds_an_upload(request_api, app: StreaminferApp, begin, files) -> None:
    id = (await begin(files))["id"]
    for headers in ({}, {"X-Streaminfer-Client": "other"}):
        for method, *path in (("GET", id), ("PUT", id, "files", "config.json"), ("POST", id, "commit"), ("DELETE", id)):
            body = b"" if method in ("PUT", "POST") else None
            answer = await request_api("api", "uploads", *path, method=method, headers=dict(headers), body=body)
            assert (answer[0], answer[1]["code"]) == (404, "upload_not_found")
    assert await request_api("api", "uploads", id, method="DELETE", headers=dict(CLIENT)) == (204, None)
    assert (await request_api("api", "uploads", id, headers=dict(CLIENT)))[0] == 404


async def test_a_part_that_is_too_large_is_refused(request_api, app: StreaminferApp, begin, put) -> None:
    files = {"config.json": b"{}", "a.safetensors": bytes(MAX_CHUNK_BYTES + 1)}
    id = (await begin(files))["id"]
    status, error = await put(id, "a.safetensors", files["a.safetensors"])
    assert (status, error["code"]) == (413, "too_large")

    async def chunks(write) -> None:
        for _ in range(MAX_CHUNK_BYTES // 2**20):
            await write(bytes(2**20))
        await write(b"\0")

    status, error = await request_api(
        "api", "uploads", id, "files", "a.safetensors", method="PUT", body_producer=chunks, headers=dict(CLIENT)
    )
    assert (status, error["code"]) == (413, "too_large")


BAD = {
    "a path": ({"files": [{"name": "../a.json", "size": 1, "sha256": "0" * 64}]}, "files"),
    "a pickle": ({"files": [{"name": "model.bin", "size": 1, "sha256": "0" * 64}]}, "files"),
    "no files": ({"files": []}, "files"),
    "no checksum": ({"files": [{"name": "config.json", "size": 1, "sha256": "x"}]}, "files[0].sha256"),
    "negative": ({"files": [{"name": "config.json", "size": -1, "sha256": "0" * 64}]}, "files[0].size"),
    "a name that is a path": ({"name": "../net"}, "name"),
    "a version that is a path": ({"version": "../1"}, "version"),
    "a file too many": ({"files": [{"name": f"{i}.json", "size": 1, "sha256": "0" * 64} for i in range(65)]}, "files"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_announcement_names_the_field(request_api, app: StreaminferApp, files, name: str) -> None:
    fields, field = BAD[name]
    body = json.dumps({"name": "net", "files": announced(files), **fields})
    status, error = await request_api("api", "uploads", method="POST", body=body, headers=dict(CLIENT))
    assert (status, error["code"], error["field"]) == (400, "invalid_request", field)


@pytest.mark.parametrize(
    ("headers", "params", "field"),
    [
        ({"Content-Range": "bytes a-b/c"}, {}, "Content-Range"),
        ({"Content-Range": "bytes */5"}, {}, "Content-Range"),
        ({}, {"offset": "-1"}, "offset"),
        ({}, {"offset": "9" * 30}, "offset"),
    ],
)
async def test_a_bad_place_is_refused(
    app: StreaminferApp, begin, put, files, headers: dict[str, str], params: dict[str, str], field: str
) -> None:
    id = (await begin(files))["id"]
    status, error = await put(id, "config.json", b"{}", headers, **params)
    assert status in (400, 409)
    assert (error["code"], error["field"]) == ("invalid_request", field)


async def test_what_came_of_a_part_that_broke_off_counts(
    app: StreaminferApp, begin, put, request_api, jp_http_port: int, jp_base_url: str, jp_auth_header
) -> None:
    data = bytes(range(256)) * 2**13
    files = {"config.json": b"{}", "vocab.txt": data}
    id = (await begin(files))["id"]
    _, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
    sent = 3 * 2**19
    writer.write(
        f"PUT {jp_base_url}streaminfer/api/uploads/{id}/files/vocab.txt HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-Streaminfer-Client: trainer\r\nAuthorization: {jp_auth_header['Authorization']}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data[:sent]
    )
    await writer.drain()
    received = 0
    async with asyncio.timeout(30):
        while not received:
            upload = (await request_api("api", "uploads", id, headers=dict(CLIENT)))[1]
            received = upload["received"]["vocab.txt"]
    writer.close()
    assert 0 < received <= sent
    status, upload = await put(id, "vocab.txt", data[received:], offset=received)
    assert (status, upload["received"]["vocab.txt"]) == (200, len(data))
