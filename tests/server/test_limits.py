"""Who a client is, and how much one may have: connections, requests, and its turn."""

import json
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.server.base import CLIENT_HEADER
from jupyter_streaminfer.server.gate import Gate

from .conftest import TIMEOUT_S
from .test_connection import GREEDY, is_terminal


class Listening:
    """Notes for whom the engine is asked."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clients: list[str] = []
        for name in ("generate", "continue_"):
            monkeypatch.setattr(engine, name, self._noting(getattr(engine, name)))
        ask = engine.ask

        def noting(request: Any, client: str, on_answer: Any) -> Any:
            self.clients.append(client)
            return ask(request, client, on_answer)

        monkeypatch.setattr(engine, "ask", noting)

    def _noting(self, method: Any) -> Any:
        async def noting(request: Any, client: str = "nobody") -> Any:
            self.clients.append(client)
            return await method(request, client)

        return noting


WORK: list[dict[str, Any]] = [
    {**GREEDY, "max_tokens": 2},
    {"type": "continue", "stream": "st_never"},
    {"type": "predict", "model": "digits", "inputs": [[1.0] * 64]},
    {"type": "embed", "model": "tiny", "inputs": ["a"]},
    {"type": "score", "model": "tiny", "prompt": "a", "continuations": ["b"]},
]


@pytest.mark.parametrize(
    ("options", "client"),
    [
        ({}, "anonymous:127.0.0.1"),
        ({"params": {"client": "notebook-1"}}, "anonymous:notebook-1"),
        ({"headers": {CLIENT_HEADER: "notebook_2.x"}}, "anonymous:notebook_2.x"),
    ],
)
async def test_every_request_says_whose_it_is(
    engine: Engine, connect, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], client: str
) -> None:
    """Those who have the token alone are one user: Jupyter makes up a new name for them with every request."""
    listening = Listening(engine, monkeypatch)
    socket = await connect(**options)
    for index, message in enumerate(WORK):
        await socket.ask(**message, id=f"r{index}")
    assert listening.clients == [client] * len(WORK)


async def test_the_openai_door_says_it_too(engine: Engine, request_api, monkeypatch: pytest.MonkeyPatch) -> None:
    listening = Listening(engine, monkeypatch)
    body = json.dumps({"model": "tiny", "prompt": "a", "max_tokens": 1})
    for headers in ({}, {CLIENT_HEADER: "batch"}):
        assert (await request_api("v1", "completions", method="POST", body=body, headers=headers))[0] == 200
    assert listening.clients == ["anonymous:127.0.0.1", "anonymous:batch"]


async def test_whoever_has_the_secret_is_the_servers_own(engine: Engine, app, connect) -> None:
    await connect(headers={"Authorization": f"streaminfer {app.secret.value}"}, params={"client": "kernel"})
    assert [connection.client for connection in app.connections] == ["streaminfer-local:kernel"]


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 65, "a/b", "é", "a\n"])
async def test_a_name_that_is_none_is_refused(app, connect, request_api, name: str) -> None:
    with pytest.raises(HTTPClientError) as refused:
        await connect(params={"client": name})
    error = json.loads(refused.value.response.body)
    assert (refused.value.code, error["code"], error["field"]) == (400, "invalid_request", "client")
    assert not app.connections
    body = json.dumps({"model": "tiny", "prompt": "a"})
    status, answer = await request_api("v1", "completions", method="POST", body=body, params={"client": name})
    assert (status, answer["error"]["param"]) == (400, "client")


class TestConnections:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"max_connections": 3, "max_connections_per_client": 2}

    async def test_they_are_bounded_in_all_and_of_each_client(self, app, connect, request_api) -> None:
        first = await connect(params={"client": "ann"})
        await connect(params={"client": "ann"})
        for client, words in (("ann", "one client"), ("bob", None), ("cyd", "this server")):
            if words is None:
                await connect(params={"client": client})
                continue
            with pytest.raises(HTTPClientError) as refused:
                await connect(params={"client": client})
            error = json.loads(refused.value.response.body)
            assert (refused.value.code, error["code"], error["retryable"]) == (503, "overloaded", True)
            assert words in error["message"]
        assert (await request_api("api", "health"))[1]["connections"] == 3
        [connection] = [each for each in app.connections if each.client == "anonymous:ann"][:1]
        for each in app.connections:
            assert each.client in ("anonymous:ann", "anonymous:bob")
        connection.transport.abort()
        await connection.ended
        del first
        assert (await (await connect(params={"client": "ann"})).ask(type="ping", id="p"))["type"] == "pong"


def test_the_gate_forgets_who_left() -> None:
    gate = Gate(10, 10)
    for client in ("ann", "bob", "ann"):
        gate.enter(client)
    assert len(gate) == 3
    for client in ("ann", "bob", "ann"):
        gate.leave(client)
    assert len(gate) == 0
    assert not gate._clients, "or a million names would stay for ever"


class TestRates:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"client_requests_per_s": 0.01, "client_requests_burst": 2}

    async def test_one_clients_limit_is_nobody_elses(self, engine: Engine, connect, request_api) -> None:
        greedy, other = await connect(params={"client": "greedy"}), await connect(params={"client": "other"})
        for index in range(2):
            assert (await greedy.ask(**GREEDY, id=f"g{index}", max_tokens=1))["type"] == "attached"
            await greedy.receive_until(is_terminal)
        refused = await greedy.ask(**GREEDY, id="g", max_tokens=1)
        assert (refused["code"], refused["retryable"]) == ("rate_limited", True)
        assert 0 < refused["retry_after_ms"] <= 100_000
        assert (await other.ask(**GREEDY, id="g", max_tokens=1))["type"] == "attached"
        metrics = (await request_api("api", "metrics"))[1]
        assert metrics["refused"]["rate_limited"] == 1

    async def test_the_openai_door_says_when_to_come_again(self, engine: Engine, jp_fetch) -> None:
        body = json.dumps({"model": "tiny", "prompt": "a", "max_tokens": 1})
        for _ in range(2):
            await jp_fetch("streaminfer", "v1", "completions", method="POST", body=body, request_timeout=TIMEOUT_S)
        with pytest.raises(HTTPClientError) as refused:
            await jp_fetch("streaminfer", "v1", "completions", method="POST", body=body)
        response = refused.value.response
        assert response is not None
        error = json.loads(response.body)["error"]
        assert (response.code, error["code"], error["type"]) == (429, "rate_limited", "rate_limit_error")
        assert response.headers["X-Should-Retry"] == "true"
        assert 0 < int(response.headers["Retry-After"]) <= 100
        assert int(response.headers["Retry-After-Ms"]) <= 1000 * int(response.headers["Retry-After"])
