"""A split between two versions on a real server, over its WebSocket, before and after it crashed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from client.server_process import JupyterServer
from telling_models import ROW, telling
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

USERS = 10_000
COMING_BACK = 2_000
"""As many of them as are asked again."""
UNDER_WAY = 500
"""Requests at once; fewer than a client may have."""
ROUTE = {"arms": [{"version": "1", "weight": 0.9}, {"version": "2", "weight": 0.1}]}


def call(server: JupyterServer, method: str, path: str, body: object = None) -> dict[str, Any]:
    """One of the addresses of models."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{server.url}streaminfer/api/models{path}", data, server.headers, method=method)
    with urlopen(request, timeout=60) as response:
        return json.loads(response.read())


async def ask_all(server: JupyterServer, users: int = USERS) -> dict[str, str]:
    """Which version answered each user; every answer has to be that version's own."""
    address = f"{server.url.replace('http', 'ws', 1)}streaminfer/ws"
    socket = await websocket_connect(HTTPRequest(address, headers=server.headers))
    found: dict[str, str] = {}
    sent = 0
    while len(found) < users:
        while sent < users and sent - len(found) < UNDER_WAY:
            user = f"user {sent}"
            await socket.write_message(
                json.dumps({"type": "predict", "id": user, "model": "m", "inputs": [ROW], "key": user})
            )
            sent += 1
        answer = json.loads(str(await asyncio.wait_for(socket.read_message(), 60)))
        assert answer["type"] == "result", answer
        assert answer["outputs"][0]["label"] == answer["version"]
        found[answer["id"]] = answer["version"]
    socket.close()
    return found


def load(server: JupyterServer, models: Path) -> None:
    for version in "12":
        body = {"name": "m", "path": str(models / version), "version": version, "placement": "thread"}
        call(server, "POST", "", {**body, "activate": version == "1"})


async def test_90_to_10_over_10_000_users_sticky_over_a_crash(tmp_path: Path) -> None:
    for version in "12":
        telling(tmp_path / "models" / version, int(version))
    server = await asyncio.to_thread(JupyterServer, tmp_path)
    try:
        await asyncio.to_thread(load, server, tmp_path / "models")
        await asyncio.to_thread(call, server, "PUT", "/m/route", ROUTE)
        before = await ask_all(server)
        counts = Counter(before.values())
        status = await asyncio.to_thread(call, server, "GET", "/m/route")
        for arm, weight in zip(status["arms"], (0.9, 0.1), strict=True):
            assert (arm["requests"], arm["errors"]) == (counts[arm["version"]], 0), "a recount from the answers"
            assert arm["share"]["value"] == pytest.approx(counts[arm["version"]] / USERS)
            assert arm["share"]["low"] <= weight <= arm["share"]["high"]
            assert 0 < arm["latency_p50_ms"] <= arm["latency_p95_ms"]

        server.kill()
        server = await asyncio.to_thread(JupyterServer, tmp_path)
        await asyncio.to_thread(load, server, tmp_path / "models")
        status = await asyncio.to_thread(call, server, "GET", "/m/route")
        assert status["route"] == ROUTE
        assert [arm["requests"] for arm in status["arms"]] == [0, 0], "figures begin anew"
        for user, version in (await ask_all(server, COMING_BACK)).items():
            assert version == before[user]
    finally:
        server.stop()
