"""Live samples: the same for everyone who watches, over WebSocket and SSE, and a burden to nobody."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from jupyter_server.serverapp import ServerApp
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine, sampler
from jupyter_streaminfer.engine.sampler import Tick
from jupyter_streaminfer.protocol import Metrics, StreamsSample, Watching
from jupyter_streaminfer.server import activity
from jupyter_streaminfer.server.app import StreaminferApp
from jupyter_streaminfer.server.connection import Connection
from jupyter_streaminfer.server.heartbeat import Heartbeat
from jupyter_streaminfer.server.writes import Writes

from .conftest import TIMEOUT_S
from .events import Events
from .raw_socket import RawSocket
from .test_connection import GREEDY, GatedTransport, is_terminal

INTERVAL_S = 0.05


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample comes sooner than after a second."""
    monkeypatch.setattr(sampler, "INTERVAL_S", INTERVAL_S)


def topic(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["type"] == name


class TestWebSocket:
    @pytest.fixture(params=["tornado", "picows"])
    def frames(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    async def test_samples_come_until_nobody_watches(self, engine: Engine, connect) -> None:
        socket = await connect()
        watching = await socket.ask(type="watch", id="w", topics=["streams", "metrics", "models"])
        assert (watching["type"], watching["interval_s"], watching["history"]) == ("watching", 1.0, [])
        socket.send(**GREEDY, id="g", max_tokens=20)
        *_, completed = await socket.receive_until(is_terminal)
        ended = await socket.receive_until(lambda each: bool(each.get("streams")))
        [stream] = ended[-1]["streams"]
        assert (stream["stream"], stream["state"], stream["tokens"]) == (completed["stream"], "completed", 20)
        metrics = (await socket.receive_until(topic("metrics")))[-1]["metrics"]
        assert (metrics["watchers"], metrics["connections"], metrics["streams_kept"]) == (1, 1, 1)
        assert "id" not in ended[-1]
        models = (await socket.receive_until(topic("models")))[-1]["models"]
        assert {model["name"] for model in models} == {"tiny", "digits"}
        assert await socket.ask(type="unwatch", id="u") == {"type": "ok", "id": "u"}
        assert engine.metrics().watchers == 0
        assert await socket.ask(type="ping", id="w") == {"type": "pong", "id": "w"}

    async def test_one_watch_takes_the_place_of_another(self, engine: Engine, connect) -> None:
        socket = await connect()
        await socket.ask(type="watch", id="w", topics=["models"])
        await socket.receive_until(topic("models"))
        watching = await socket.ask(type="watch", id="w", topics=["metrics", "metrics"], history_s=600)
        past = [msgspec.convert(each, Metrics) for each in watching["history"]]
        assert past == engine.history(600)[: len(past)] != []
        first, second = await socket.receive(), await socket.receive()
        assert (first["type"], second["type"]) == ("metrics", "metrics")
        assert past[-1].at < first["metrics"]["at"] < second["metrics"]["at"], "none of them twice"
        assert engine.metrics().watchers == 1

    async def test_a_watcher_that_reads_nothing_is_dropped_alone(self, engine: Engine, app, connect, open_raw) -> None:
        """It answers no ping, and so is found dead; whoever reads goes on."""
        reader, deaf = await connect(), await open_raw()
        for socket in (reader, deaf):
            socket.send(type="watch", id="w", topics=["metrics"])
        await deaf.receive()
        left = await reader.receive_until(lambda each: each.get("metrics", {}).get("watchers_dropped") == 1)
        assert left[-1]["metrics"]["watchers"] == 1
        assert await reader.ask(type="ping", id="p") == {"type": "pong", "id": "p"}

    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"heartbeat_s": 0.2}

    @pytest.fixture
    async def open_raw(self, app: StreaminferApp, http_server, jp_http_port, jp_base_url, jp_auth_header):
        opened: list[RawSocket] = []

        async def open_raw() -> RawSocket:
            opened.append(await RawSocket.open(jp_http_port, jp_base_url, jp_auth_header["Authorization"]))
            return opened[-1]

        yield open_raw
        for each in opened:
            each.writer.transport.abort()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"topics": []}, "topics"),
    ({"topics": ["tokens"]}, "topics[0]"),
    ({"topics": ["metrics"] * 4}, "topics"),
    ({"topics": ["metrics"], "history_s": 601}, "history_s"),
    ({"topics": ["metrics"], "history_s": -1}, "history_s"),
    ({}, "topics"),
    ({"topics": ["metrics"], "interval_s": 0.01}, "interval_s"),
]


async def test_what_is_no_watch_is_refused(engine: Engine, connect) -> None:
    socket = await connect()
    for fields, field in REFUSED:
        error = await socket.ask(type="watch", id="w", **fields)
        assert (error["code"], error["field"]) == ("invalid_request", field)
    assert engine.metrics().watchers == 0


async def test_all_get_the_same_bytes_and_the_slow_ones_the_latest(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine._sampler.stop()
    monkeypatch.setattr(engine._sampler, "start", lambda: None)
    fast, slow = GatedTransport(), GatedTransport()
    connections = [Connection(lambda: engine, each, Writes(), 10, lambda: None) for each in (fast, slow)]
    fast.gate.set()
    for connection in connections:
        connection.receive(b'{"type":"watch","id":"w","topics":["metrics"]}')

    async def sent(count: int) -> None:
        async with asyncio.timeout(TIMEOUT_S), fast.more:
            await fast.more.wait_for(lambda: len(fast.sent) == count)

    await sent(1)
    for count in range(2, 7):
        engine._sampler._take()
        engine._sampler.stop()
        await sent(count)
    slow.gate.set()
    async with asyncio.timeout(TIMEOUT_S), slow.more:
        await slow.more.wait_for(lambda: len(slow.sent) == 2)
    assert json.loads(slow.sent[0])["type"] == "watching"
    assert slow.sent[1] is fast.sent[5], "made once, and what came between is gone"
    for connection in connections:
        connection.closed()
    assert engine.metrics().watchers == 0


async def test_watching_keeps_no_idle_server_alive(
    app: StreaminferApp, engine: Engine, connect, sse, jp_serverapp: ServerApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And running work does, watched or not."""
    monkeypatch.setattr(activity, "INTERVAL_S", INTERVAL_S)
    app.activity.stop()
    app.activity.start()
    web_app = jp_serverapp.web_app
    socket = await connect()
    events = await sse()
    before = web_app.last_activity()
    await socket.ask(type="watch", id="w", topics=["metrics", "models", "streams"], history_s=600)
    await socket.ask(type="ping", id="p")
    for _ in range(5):
        await socket.receive_until(topic("streams"))
        await events.receive()
    await socket.ask(type="unwatch", id="u")
    await socket.ask(type="watch", id="w", topics=["metrics"])
    assert app.current_activity() is None
    assert web_app.last_activity() == before
    assert (engine.metrics().pending, engine.metrics().admitted) == (0, 0)

    socket.send(**GREEDY, id="g", max_tokens=ENDLESS)
    attached = (await socket.receive_until(topic("attached")))[-1]
    begun = web_app.last_activity()
    assert begun > before
    assert app.current_activity() == {"tiny": 1}
    async with asyncio.timeout(TIMEOUT_S):
        while web_app.last_activity() == begun:
            await socket.receive()
    engine.cancel(attached["stream"])


async def test_a_repetition_is_noticed(engine: Engine, connect) -> None:
    """A random model that takes the likeliest token soon goes round in circles."""
    socket = await connect()
    socket.send(type="watch", id="w", topics=["streams", "metrics"])
    socket.send(**GREEDY, id="g", max_tokens=ENDLESS, repetition_penalty=0.01)
    messages = await socket.receive_until(topic("notice"))
    stream = next(each["stream"] for each in messages if each["type"] == "attached")
    assert (messages[-1]["code"], messages[-1]["stream"]) == ("repeating", stream)
    listed = (await socket.receive_until(lambda each: bool(each.get("streams"))))[-1]["streams"]
    assert [(each["stream"], each["odd"]) for each in listed] == [(stream, ["repeating"])]
    assert (await socket.receive_until(topic("metrics")))[-1]["metrics"]["odd"] == {"repeating": 1}
    engine.cancel(stream)


Sse = Callable[..., Awaitable[Events]]


@pytest.fixture
async def sse(app: StreaminferApp, http_server, jp_http_port: int, jp_base_url: str, jp_auth_header) -> Any:
    """Opens live samples."""
    opened: list[Events] = []

    async def sse(query: str = "") -> Events:
        headers = {**jp_auth_header, "Accept": "text/event-stream"}
        opened.append(await Events.open(jp_http_port, f"{jp_base_url}streaminfer/api/metrics{query}", **headers))
        return opened[-1]

    yield sse
    for events in opened:
        events.close()


class TestServerSentEvents:
    async def test_samples_come_after_those_of_the_past(self, engine: Engine, sse: Sse) -> None:
        plain = await sse()
        assert (plain.status, plain.headers["vary"]) == (200, "Accept")
        received = [await plain.receive() for _ in range(3)]
        assert [event.type for event in received] == ["metrics"] * 3
        assert all(event.id is None and event.data["metrics"]["watchers"] == 1 for event in received)

        both = await sse("?topics=models,metrics&history_s=600")
        past = await both.receive()
        assert past.type == "history"
        assert [each["at"] for each in past.data] == [each.at for each in engine.history(600)[: len(past.data)]]
        assert {(await both.receive()).type for _ in range(2)} == {"metrics", "models"}

    async def test_what_cannot_be_is_refused(self, engine: Engine, app: StreaminferApp, sse: Sse) -> None:
        for query in ("topics=", "topics=metrics,tokens", *(f"history_s={each}" for each in ("601", "nan", "-1", "x"))):
            events = await sse(f"?{query}")
            error = await events.error()
            assert (events.status, error["code"], error["field"]) == (400, "invalid_request", query.partition("=")[0])
        assert (engine.metrics().watchers, len(app.gate)) == (0, 0)

    async def test_who_leaves_watches_no_longer(self, engine: Engine, app: StreaminferApp, sse: Sse) -> None:
        freed, leave = asyncio.Event(), app.gate.leave
        app.gate.leave = lambda client: (leave(client), freed.set())
        events = await sse()
        await events.receive()
        assert (engine.metrics().watchers, len(app.gate)) == (1, 1)
        events.close()
        await asyncio.wait_for(freed.wait(), TIMEOUT_S)
        metrics = engine.metrics()
        assert (metrics.watchers, metrics.watchers_dropped, len(app.gate), app.on_stop) == (0, 0, 0, set())

    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"heartbeat_s": 0.2}

    async def test_who_takes_nothing_is_dropped(
        self, engine: Engine, app: StreaminferApp, sse: Sse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """How that is found is tested with the heartbeat; a socket of this machine takes minutes of samples."""
        freed, leave = asyncio.Event(), app.gate.leave
        app.gate.leave = lambda client: (leave(client), freed.set())
        await (await sse()).receive()
        monkeypatch.setattr(Heartbeat, "look", lambda self, now: "stalled")
        await asyncio.wait_for(freed.wait(), TIMEOUT_S)
        metrics = engine.metrics()
        assert (metrics.watchers, metrics.watchers_dropped) == (0, 1)

    async def test_it_ends_with_the_server(self, engine: Engine, app: StreaminferApp, sse: Sse) -> None:
        events = await sse()
        await events.receive()
        await app.stop_extension()
        assert {event.type for event in await events.rest()} <= {"metrics"}


async def test_the_past_is_the_same_in_every_form(engine: Engine, connect, sse: Sse, request_api) -> None:
    """It is kept as text, which no answer reads: what each says is what was measured."""
    engine._sampler.stop()
    measured, seconds = [engine.metrics() for _ in range(3)], 2 * INTERVAL_S
    engine._sampler._history.clear()
    engine._sampler._history.extend(Tick(each, list, StreamsSample).metrics_text for each in measured)
    watching = await (await connect()).ask(type="watch", id="w", topics=["metrics"], history_s=seconds)
    _, answer = await request_api("api", "metrics", "history", params={"seconds": str(seconds)})
    told = await (await sse(f"?history_s={seconds}")).receive()
    for form in (watching["history"], answer["samples"], told.data):
        assert msgspec.convert(form, list[Metrics]) == measured[1:] == engine.history(seconds)
    assert msgspec.convert(watching, Watching) == Watching("w", 1.0, measured[1:])


async def test_the_past_is_kept_without_anyone_watching(engine: Engine, request_api) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while len(engine.history(600)) < 3:  # noqa: ASYNC110 (nothing tells of it but watching)
            await asyncio.sleep(INTERVAL_S)
    status, answer = await request_api("api", "metrics", "history")
    assert status == 200
    samples = msgspec.convert(answer["samples"], list[Metrics])
    assert samples == engine.history(600)[: len(samples)]
    assert len(samples) >= 3
    assert (await request_api("api", "metrics", "history", params={"seconds": "0"}))[1] == {"samples": []}
    status, error = await request_api("api", "metrics", "history", params={"seconds": "x"})
    assert (status, error["field"]) == (400, "seconds")
