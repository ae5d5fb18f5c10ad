"""Streams as server-sent events: whole, resumed at any place, watched, and let go of."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jupyter_streaminfer.engine import Engine, Stream
from jupyter_streaminfer.protocol import Generate

from .conftest import TIMEOUT_S, ended
from .events import Events, ServerEvent

Open = Callable[..., Awaitable[Events]]


@pytest.fixture
async def sse(app, http_server, jp_http_port: int, jp_base_url: str, jp_auth_header) -> Any:
    """Opens the events of a stream."""
    opened: list[Events] = []

    async def sse(stream: str, query: str = "", **headers: str) -> Events:
        path = f"{jp_base_url}streaminfer/api/streams/{stream}{query}"
        headers = {**jp_auth_header, "Accept": "text/event-stream", **headers}
        opened.append(await Events.open(jp_http_port, path, **headers))
        return opened[-1]

    yield sse
    for events in opened:
        events.close()


async def generate(engine: Engine, tokens: int, **fields: Any) -> Stream:
    request = Generate("g", "tiny", prompt="a b", temperature=0.0, ignore_eos=True, max_tokens=tokens, **fields)
    return await engine.generate(request, "test")


async def finished(engine: Engine, tokens: int) -> Stream:
    stream = await generate(engine, tokens)
    await ended(stream)
    return stream


def text(events: list[ServerEvent]) -> str:
    return "".join(event.data["text"] for event in events if event.type == "delta")


def seqs(events: list[ServerEvent]) -> list[int]:
    """Every ``seq`` that the events have, those of merged deltas too."""
    logged = [event.data for event in events if "seq" in event.data]
    return [seq for data in logged for seq in range(data["seq"], data.get("last", data["seq"]) + 1)]


async def test_a_stream_from_first_to_last(engine: Engine, sse: Open) -> None:
    stream = await generate(engine, 200)
    events = await sse(stream.id)
    assert (events.status, events.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    attached, *rest = await events.rest()
    assert (attached.id, attached.type) == (None, "attached")
    assert (attached.data["stream"], attached.data["epoch"]) == (stream.id, stream.epoch)
    assert attached.data["recovered"]
    assert seqs(rest) == list(range(stream.head))
    assert text(rest) == stream.text
    assert rest[-1].type == "completed"
    for event in rest:
        assert event.type == event.data["type"]
        assert event.id == f"{stream.epoch}:{event.data.get('last', event.data['seq'])}"
    assert stream.consumers == 0


async def test_a_reader_may_be_cut_anywhere(engine: Engine, sse: Open) -> None:
    """A connection for every few events; what they bring together is the stream, without a gap or a repeat."""
    stream = await generate(engine, 300)
    got: list[ServerEvent] = []
    while not got or got[-1].type != "completed":
        events = await sse(stream.id, **({"Last_Event_ID": got[-1].id} if got else {}))
        attached = await events.receive()
        assert attached is not None
        assert attached.data["recovered"]
        got += [event for event in [await events.receive() for _ in range(3)] if event is not None]
        events.close()
    assert seqs(got) == list(range(stream.head))
    assert text(got) == stream.text


async def test_all_ways_to_resume_are_equal(engine: Engine, sse: Open, request_api) -> None:
    stream = await finished(engine, 20)
    for after in range(-1, stream.head - 1):
        expected = "" if after >= stream.deltas - 1 else stream.delta(after + 1, stream.deltas - 1).text
        ways = [await sse(stream.id, f"?starting_after={after}&epoch={stream.epoch}")]
        if after >= 0:
            ways.append(await sse(stream.id, "?starting_after=0", Last_Event_ID=f"{stream.epoch}:{after}"))
        for events in ways:
            _, *rest = await events.rest()
            assert (text(rest), seqs(rest)) == (expected, list(range(after + 1, stream.head)))
        status, document = await request_api("api", "streams", stream.id, params={"starting_after": str(after)})
        assert (status, document["text"]) == (200, stream.text)
        brought = [ServerEvent(None, event["type"], event) for event in document["events"]]
        assert (text(brought), seqs(brought)) == (expected, list(range(after + 1, stream.head)))


async def test_a_browser_that_has_everything_is_told_to_come_back_no_more(engine: Engine, sse: Open) -> None:
    """An ``EventSource`` takes the end of a response for a broken connection; 204 is what stops it."""
    stream = await finished(engine, 3)
    assert (await sse(stream.id, Last_Event_ID=f"{stream.epoch}:{stream.head - 1}")).status == 204
    events = await sse(stream.id, f"?starting_after={stream.head - 1}")
    assert [event.type for event in await events.rest()] == ["attached"]


REFUSED: dict[str, tuple[str, dict[str, str], str]] = {
    "no id": ("", {"Last_Event_ID": "nonsense"}, "Last-Event-ID"),
    "a seq below 0": ("", {"Last_Event_ID": "{epoch}:-1"}, "Last-Event-ID"),
    "another epoch": ("", {"Last_Event_ID": "other:2"}, "epoch"),
    "another epoch, asked for": ("?starting_after=1&epoch=other", {}, "epoch"),
    "a seq that is not there": ("", {"Last_Event_ID": "{epoch}:99"}, "after"),
    "a place that is no number": ("?starting_after=first", {}, "starting_after"),
    "a number beyond all": (f"?starting_after={10**30}", {}, "starting_after"),
    "no flag": ("?snapshot=perhaps", {}, "snapshot"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_place_that_is_none_is_refused(engine: Engine, sse: Open, request_api, name: str) -> None:
    query, headers, field = REFUSED[name]
    stream = await finished(engine, 3)
    events = await sse(stream.id, query, **{name: value.format(epoch=stream.epoch) for name, value in headers.items()})
    error = await events.error()
    assert (events.status, error["code"], error["field"]) == (400, "invalid_request", field)
    assert stream.consumers == 0


async def test_a_stream_that_never_was_is_not_found(sse: Open) -> None:
    events = await sse("st_never")
    assert (events.status, (await events.error())["code"]) == (404, "stream_not_found")


class TestBelowTheFloor:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"max_stream_bytes": 4000}

    async def test_it_is_gone_unless_a_snapshot_will_do(self, engine: Engine, sse: Open, request_api) -> None:
        stream = await finished(engine, 600)
        assert stream.floor > 5, "the log was to shrink"
        for query, headers in (("?starting_after=3", {}), ("", {"Last_Event_ID": f"{stream.epoch}:3"})):
            events = await sse(stream.id, query, **headers)
            error = await events.error()
            assert (events.status, error["code"], error["field"]) == (410, "expired", "after")
        status, error = await request_api("api", "streams", stream.id, params={"starting_after": "3"})
        assert (status, error["code"]) == (410, "expired")
        status, document = await request_api("api", "streams", stream.id)
        assert (status, document["text"], document["events"][0]["seq"]) == (200, stream.text, stream.floor)

        attached, *rest = await (await sse(stream.id, "?starting_after=3&snapshot=true")).rest()
        assert not attached.data["recovered"]
        assert attached.data["snapshot"]["text"] + text(rest) == stream.text
        assert seqs(rest) == list(range(stream.floor, stream.head))


class TestHeartbeats:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"heartbeat_s": 0.1, "max_batch_size": 1}

    async def test_comments_come_while_nothing_else_does(self, engine: Engine, sse: Open) -> None:
        running = await generate(engine, 15_000, detached=True)
        waiting = await generate(engine, 5)
        events = await sse(waiting.id)
        assert (await events.receive()).type == "attached"
        assert await events.receive(comments=3) is None
        assert set(events.comments) == {": ping"}
        engine.cancel(running.id)
        rest = await events.rest()
        assert seqs(rest) == list(range(waiting.head)), "they moved nobody's place"
        assert text(rest) == waiting.text


async def test_a_client_that_leaves_is_a_consumer_no_longer(engine: Engine, sse: Open, app) -> None:
    stream = await generate(engine, 15_000)
    gone, freed = asyncio.Event(), asyncio.Event()
    events = await sse(stream.id)
    await events.receive()
    assert (stream.consumers, len(app.gate)) == (1, 1)
    rearm, leave = stream.on_consumers, app.gate.leave
    stream.on_consumers = lambda stream: (rearm(stream), gone.set())
    app.gate.leave = lambda client: (leave(client), freed.set())
    events.close()
    await asyncio.wait_for(gone.wait(), TIMEOUT_S)
    assert stream.consumers == 0
    await asyncio.wait_for(freed.wait(), TIMEOUT_S)
    assert len(app.gate) == 0
    engine.cancel(stream.id)


async def test_any_number_of_readers_get_the_same(engine: Engine, sse: Open) -> None:
    stream = await generate(engine, 400)
    readers = [await sse(stream.id) for _ in range(5)]
    for events in await asyncio.gather(*(reader.rest() for reader in readers)):
        assert text(events) == stream.text
        assert seqs(events) == list(range(stream.head))
