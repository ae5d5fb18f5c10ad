"""Neither the server's token nor the kernels' secret is in any log or answer of ours, whatever goes wrong."""

import json
import logging
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from jupyter_streaminfer.engine import Engine

from .conftest import Socket
from .test_connection import GREEDY, is_terminal

EVIL = "http://evil.example"


class Session:
    """What one client does whose address or header carries a secret: what works, what is refused, and what fails."""

    def __init__(self, fetch: Any, ws_fetch: Any, options: dict[str, Any]) -> None:
        self._fetch, self._ws_fetch = fetch, ws_fetch
        self._options = options
        self.statuses: set[int] = set()
        self.answers: list[str] = []

    async def ask(self, *path: str, **options: Any) -> None:
        try:
            response = await self._fetch("streaminfer", *path, **self._with(options))
        except HTTPClientError as error:
            response = error.response
        self.statuses.add(response.code)
        self.answers += [str(list(response.headers.get_all())), response.body.decode()]

    async def connect(self, **headers: str) -> Socket:
        return Socket(await self._ws_fetch("streaminfer", "ws", **self._with({"headers": headers})))

    def _with(self, options: dict[str, Any]) -> dict[str, Any]:
        # An empty header, or the fixtures would send the token in it.
        headers = {"Authorization": "", **self._options.get("headers", {}), **options.get("headers", {})}
        return {**self._options, **options, "headers": headers}


@pytest.mark.parametrize("way", ["token in the query", "secret in the header", "wrong token in the query"])
async def test_they_show_nowhere(
    engine: Engine, app, jp_serverapp, jp_fetch, jp_ws_fetch, caplog, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    token, wrong = jp_serverapp.identity_provider.token, "mistyped-0123456789"
    options: dict[str, Any] = {"params": {"token": wrong if "wrong" in way else token}}
    if "secret" in way:
        options = {"headers": {"Authorization": f"streaminfer {app.secret.value}"}}
    caplog.set_level(logging.DEBUG)
    caplog.clear()

    session = Session(jp_fetch, jp_ws_fetch, options)
    await session.ask("api", "health")
    await session.ask("api", "streams", "st_never")
    await session.ask("api", "models", method="POST", body=b"{")
    await session.ask("v1", "completions", method="POST", body=json.dumps({"model": "tiny", "prompt": "a"}))
    await session.ask("api", "models", headers={"Origin": EVIL, "Referer": f"{EVIL}/?token={token}"})
    with monkeypatch.context() as broken:
        broken.setattr(engine, "models", lambda: 1 / 0)
        await session.ask("api", "models")
    if "wrong" in way:
        assert session.statuses == {403, 404}
        for headers in ({}, {"Origin": EVIL, "Host": "127.0.0.1"}):
            with pytest.raises(HTTPClientError):
                await session.connect(**headers)
    else:
        assert session.statuses == {200, 400, 404, 500}
        socket = await session.connect()
        socket.send(**GREEDY, id="g", max_tokens=20)
        session.answers.append(json.dumps(await socket.receive_until(is_terminal)))
        with monkeypatch.context() as broken:
            broken.setattr(engine, "stream", lambda _: 1 / 0)
            fault = await socket.ask(type="attach", id="a", stream="st_x")
        assert fault["code"] == "internal"
        session.answers.append(json.dumps(fault))
    await app.stop_extension()

    assert "ZeroDivisionError" in caplog.text or "wrong" in way, "the log was read"
    for secret in (token, app.secret.value, wrong):
        assert secret not in caplog.text
        assert secret not in "".join(session.answers)
