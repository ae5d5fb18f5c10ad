"""Streams on the native WebSocket that outlive what happens to them: slow readers, deadlines, a log that shrank."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from jupyter_streaminfer.engine import Engine, Stream
from jupyter_streaminfer.protocol import Generate

from .conftest import ended
from .test_connection import GREEDY, is_terminal, text


@pytest.fixture(params=["tornado", "picows"])
def frames(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def notices(messages: list[dict[str, Any]]) -> list[str]:
    return [message["code"] for message in messages if message["type"] == "notice"]


def seqs(messages: list[dict[str, Any]]) -> list[int]:
    events = [message for message in messages if "seq" in message]
    return [seq for event in events for seq in range(event["seq"], event.get("last", event["seq"]) + 1)]


class TestAcks:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"window_tokens": 100}

    async def test_a_stream_waits_for_a_reader_that_acknowledges(self, engine: Engine, connect) -> None:
        socket = await connect()
        socket.send(**GREEDY, id="g", max_tokens=600)
        attached = await socket.receive()
        stream = engine.stream(attached["stream"])
        socket.send(type="ack", stream=stream.id, seq=0)
        got = await socket.receive_until(lambda message: message.get("code") == "paused")
        assert notices(got) == ["slow_consumer", "paused"]
        assert stream.status().paused
        assert not stream.closed

        while not is_terminal(got[-1]):
            if "seq" in got[-1]:
                socket.send(type="ack", stream=stream.id, seq=got[-1].get("last", got[-1]["seq"]))
            elif got[-1].get("code") == "paused":
                socket.send(type="ack", stream=stream.id, seq=max(seqs(got)))
            got.append(await socket.receive())
        assert got[-1]["type"] == "completed"
        assert "resumed" in notices(got)
        assert seqs(got) == list(range(stream.head))
        assert text(got) == stream.text

    async def test_an_ack_is_not_answered_and_one_that_comes_too_late_means_nothing(
        self, engine: Engine, connect
    ) -> None:
        socket = await connect()
        socket.send(type="ack", stream="st_never", seq=5)
        socket.send(**GREEDY, id="g", max_tokens=3)
        got = await socket.receive_until(is_terminal)
        socket.send(type="ack", stream=got[0]["stream"], seq=10**9)
        assert await socket.ask(type="ping", id="p") == {"type": "pong", "id": "p"}
        assert [message["type"] for message in got if message["type"] == "error"] == []

    @pytest.mark.parametrize("fields", [{"seq": -1}, {"seq": "1"}, {}, {"seq": 1, "id": "a"}])
    async def test_one_that_is_malformed_is_refused(self, connect, app, fields: dict[str, Any]) -> None:
        socket = await connect()
        socket.send(type="ack", stream="st_x", **fields)
        answer = await socket.receive()
        assert (answer["type"], answer["code"]) == ("error", "invalid_request")


class Gated:
    """A transport whose writes take as long as somebody says."""

    def __init__(self, write: Callable[[list[bytes]], Coroutine[Any, Any, None]]) -> None:
        self._write = write

    def send(self, frames: list[bytes]) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._write(frames))

    def close(self, code: int, reason: str) -> None:
        """The test's connection is dropped."""

    def abort(self) -> None:
        """The same."""


class TestBelowTheFloor:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"max_stream_bytes": 4000}

    async def test_whole_or_refused_or_a_snapshot_and_the_tail(self, engine: Engine, connect) -> None:
        first, second = await connect(), await connect()
        first.send(**GREEDY, id="g", max_tokens=600)
        attached = await first.receive()
        stream = engine.stream(attached["stream"])
        await first.receive_until(lambda message: is_terminal(message) or message["type"] == "error")
        await ended(stream)
        assert stream.floor > 1
        refused = await second.ask(type="attach", id="a", stream=stream.id, after=0)
        assert (refused["type"], refused["code"], refused["field"]) == ("error", "expired", "after")
        again = await second.ask(type="attach", id="a", stream=stream.id, after=0, snapshot=True)
        assert (again["type"], again["recovered"]) == ("attached", False)
        rest = await second.receive_until(is_terminal)
        assert again["snapshot"]["text"] + text(rest) == stream.text
        assert seqs(rest) == list(range(stream.floor, stream.head))

    async def test_who_began_it_is_told_which_it_is_however_late(
        self, engine: Engine, connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stream that was faster than the loop was refused as expired to who began it, and it had no name then."""
        generate = engine.generate

        async def generate_late(request: Generate, client: str = "") -> Stream:
            stream = await generate(request, client)
            await ended(stream)
            return stream

        monkeypatch.setattr(engine, "generate", generate_late)
        socket = await connect()
        socket.send(**GREEDY, id="g", max_tokens=600, detached=True)
        attached, *rest = await socket.receive_until(is_terminal)
        stream = engine.stream(attached["stream"])
        assert (attached["type"], attached["id"], attached["floor"]) == ("attached", "g", stream.floor)
        assert attached["floor"] > 0
        assert attached["snapshot"]["text"] + text(rest) == stream.text

    async def test_a_reader_that_lags_below_it_is_told_and_the_connection_goes_on(
        self, engine: Engine, app, connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it was to read next is no more, and it is refused like one that comes late.

        It reads from the beginning: a reader that attached by itself came too late on a busy machine.
        """
        socket = await connect()
        [connection] = app.connections
        gate, send = asyncio.Event(), connection.transport.send

        async def pass_on(frames: list[bytes]) -> None:
            await gate.wait()
            if (full := send(frames)) is not None:
                await full

        monkeypatch.setattr(connection, "transport", Gated(pass_on))
        before = len(engine.streams())
        socket.send(**GREEDY, id="g", max_tokens=3000, detached=True)
        while len(engine.streams()) == before:  # noqa: ASYNC110 (the answer that would tell is held back)
            await asyncio.sleep(0.01)
        stream = engine.stream(engine.streams()[-1].stream)
        await ended(stream)
        gate.set()
        attached, *_, refused = await socket.receive_until(lambda message: message["type"] == "error")
        assert (attached["type"], attached["floor"] < stream.floor) == ("attached", True)
        assert (refused["id"], refused["code"], refused["field"]) == ("g", "expired", "after")
        again = await socket.ask(type="attach", id="a", stream=stream.id, snapshot=True)
        assert again["type"] == "attached"
        assert again["snapshot"]["text"] + text(await socket.receive_until(is_terminal)) == stream.text


async def test_a_deadline_ends_a_stream_in_order_and_it_can_be_continued(engine: Engine, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="whole", max_tokens=4000)
    reference = text(await socket.receive_until(is_terminal))
    socket.send(**GREEDY, id="g", max_tokens=4000, deadlines={"total_ms": 250})
    parts = [await socket.receive_until(is_terminal)]
    assert (parts[0][-1]["type"], parts[0][-1]["reason"]) == ("incomplete", "deadline")
    while parts[-1][-1]["type"] == "incomplete" and len(parts) < 100:
        socket.send(type="continue", id="c", stream=parts[-1][-1]["stream"])
        parts.append(await socket.receive_until(is_terminal))
        assert (parts[-1][0]["type"], parts[-1][0]["id"]) == ("attached", "c")
    assert parts[-1][-1]["type"] == "completed"
    assert "".join(map(text, parts)) == reference


async def test_what_is_complete_cannot_be_continued(engine: Engine, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=3)
    stream = (await socket.receive_until(is_terminal))[-1]["stream"]
    refused = await socket.ask(type="continue", id="c", stream=stream)
    assert (refused["code"], refused["field"]) == ("invalid_request", "stream")
    refused = await socket.ask(type="continue", id="c", stream="st_never")
    assert refused["code"] == "stream_not_found"


@pytest.mark.parametrize("deadlines", [{"total_ms": 0}, {"total_ms": 1e12}, {"queue_ms": "1"}, {"later_ms": 5}])
async def test_a_deadline_has_its_limits(engine: Engine, connect, deadlines: dict[str, Any]) -> None:
    socket = await connect()
    refused = await socket.ask(**GREEDY, id="g", deadlines=deadlines)
    [name] = deadlines
    assert (refused["code"], refused["field"]) == ("invalid_request", f"deadlines.{name}")
