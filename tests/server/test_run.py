"""Streams of values over the WebSocket and as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from yielding_models import FACTORIES

from jupyter_streaminfer.engine import Engine, Stream
from jupyter_streaminfer.protocol import Run
from jupyter_streaminfer.server.app import StreaminferApp

from .conftest import Socket, ended
from .events import Events, ServerEvent

Open = Callable[..., Awaitable[Events]]
TOLD = ["Once ", "upon ", {"n": 1}, "a ", "time", [2], 3]


@pytest.fixture
def extension_traits() -> dict[str, Any]:
    return {"allowed_factories": [FACTORIES], "max_stream_bytes": 20_000}


@pytest.fixture
def engine(app: StreaminferApp, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Engine:
    """The server's engine with models that yield."""
    assert app.engine is not None
    for name in ("story", "silent"):
        jp_asyncio_loop.run_until_complete(app.engine.load(name, f"yielding_models:{name}", placement="thread"))
    return app.engine


@pytest.fixture
async def sse(
    app: StreaminferApp, http_server: Any, jp_http_port: int, jp_base_url: str, jp_auth_header: Any
) -> AsyncIterator[Open]:
    """Opens the events of a stream."""
    opened: list[Events] = []

    async def sse(stream: str, **headers: str) -> Events:
        path = f"{jp_base_url}streaminfer/api/streams/{stream}"
        opened.append(await Events.open(jp_http_port, path, **jp_auth_header, Accept="text/event-stream", **headers))
        return opened[-1]

    yield sse
    for events in opened:
        events.close()


async def run(engine: Engine, inputs: Any) -> Stream:
    stream = await engine.run(Run("r", "story", msgspec.Raw(msgspec.json.encode(inputs)), detached=True))
    await ended(stream)
    return stream


def told(events: list[ServerEvent]) -> list[Any]:
    """Texts and values in their order, texts that follow on each other as one."""
    pieces: list[Any] = []
    for event in events:
        if event.type == "delta":
            pieces.append(event.data["text"])
        elif event.type == "partial":
            pieces.append(event.data["value"])
    return pieces


async def test_a_run_over_the_websocket(engine: Engine, connect: Callable[..., Awaitable[Socket]]) -> None:
    socket = await connect()
    socket.send(type="run", id="r1", model="story", inputs=TOLD)
    messages = await socket.receive_until(lambda message: message["type"] == "completed")
    assert messages[0]["type"] == "attached"
    assert messages[0]["id"] == "r1"
    pieces = [message for message in messages if message["type"] in ("delta", "partial")]
    assert "".join(each["text"] for each in pieces if "text" in each) == "Once upon a time"
    assert [each["value"] for each in pieces if "value" in each] == [{"n": 1}, [2], 3]
    assert messages[-1]["seq"] == len(TOLD)
    answer = await socket.ask(type="run", id="r2", model="nobody", inputs=[])
    assert (answer["type"], answer["code"], answer["field"]) == ("error", "model_not_found", "model")
    answer = await socket.ask(type="predict", id="p1", model="story", inputs=[[1]])
    assert (answer["type"], answer["field"]) == ("error", "model")


async def test_a_run_goes_on_over_another_connection(engine: Engine, connect: Callable[..., Awaitable[Socket]]) -> None:
    first = await connect()
    first.send(type="run", id="r1", model="silent", inputs=[{"value": value} for value in range(5)])
    messages = await first.receive_until(lambda message: message.get("seq") == 2)
    stream, epoch, seen = messages[0]["stream"], messages[0]["epoch"], messages[-1]
    first.connection.close()
    second = await connect()
    second.send(type="attach", id="a1", stream=stream, epoch=epoch, after=seen["seq"])
    attached, following = await second.receive(), await second.receive()
    assert attached["recovered"]
    assert following["seq"] == seen["seq"] + 1
    assert following["value"]["value"] == seen["value"]["value"] + 1
    second.send(type="cancel", id="c1", stream=stream)
    await second.receive_until(lambda message: message["type"] == "cancelled")


async def test_events_with_places_to_come_back_to(engine: Engine, sse: Open) -> None:
    stream = await run(engine, TOLD)
    events = (await (await sse(stream.id)).rest())[1:]
    assert told(events) == ["Once upon ", {"n": 1}, "a time", [2], 3]
    assert [event.id.partition(":")[2] for event in events if event.id] == ["1", "2", "4", "5", "6", "7"]
    for event in events:
        rest = await (await sse(stream.id, Last_Event_ID=event.id or "")).rest()
        assert [each.data["seq"] for each in rest[1:]] == [
            each.data["seq"] for each in events if each.data["seq"] > event.data["seq"]
        ]


async def test_the_whole_as_one_document(
    engine: Engine, request_api: Callable[..., Awaitable[tuple[int, Any]]]
) -> None:
    stream = await run(engine, TOLD)
    status, document = await request_api(f"api/streams/{stream.id}")
    assert status == 200
    assert document["text"] == "Once upon a time"
    assert [event["type"] for event in document["events"]] == [
        "delta",
        "partial",
        "delta",
        "partial",
        "partial",
        "completed",
    ]
    long = await run(engine, [["x" * 1000, index] for index in range(40)])
    status, document = await request_api(f"api/streams/{long.id}")
    assert document["status"]["floor"] > 0
    assert [event["value"][1] for event in document["events"][:-1]] == list(range(document["status"]["floor"], 40))
