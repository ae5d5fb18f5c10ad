"""One connection, many requests; one stream, many connections."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import Generate
from jupyter_streaminfer.server.connection import OUTBOX_BYTES, Connection
from jupyter_streaminfer.server.writes import Writes

from .conftest import TIMEOUT_S


@pytest.fixture(params=["tornado", "picows"])
def frames(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def is_terminal(message: dict[str, Any]) -> bool:
    return message["type"] in ("completed", "cancelled", "failed", "incomplete")


def text(messages: list[dict[str, Any]]) -> str:
    return "".join(message["text"] for message in messages if message["type"] == "delta")


GREEDY = {"type": "generate", "model": "tiny", "prompt": "a b", "temperature": 0, "ignore_eos": True}


async def test_a_stream_from_first_to_last(engine: Engine, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=40)
    attached, *deltas, completed = await socket.receive_until(is_terminal)
    assert (attached["type"], attached["id"], attached["recovered"]) == ("attached", "g", True)
    assert {message["stream"] for message in deltas} == {attached["stream"]}
    assert completed["type"] == "completed"
    assert completed["finish_reason"] == "length"
    assert completed["usage"]["completion_tokens"] == 40
    assert text(deltas) == engine.stream(attached["stream"]).text
    assert engine.stream(attached["stream"]).consumers == 0


async def test_an_id_is_free_again_once_its_stream_ended(engine: Engine, connect) -> None:
    socket = await connect()
    for _ in range(2):
        socket.send(**GREEDY, id="g", max_tokens=3)
        assert (await socket.receive_until(is_terminal))[-1]["type"] == "completed"


async def test_attach_gives_exactly_the_rest(engine: Engine, connect) -> None:
    first = await connect()
    first.send(**GREEDY, id="g", max_tokens=600)
    got = await first.receive_until(lambda message: message["type"] == "delta" and message["seq"] >= 5)
    first.connection.close()
    attached, last = got[0], got[-1].get("last", got[-1]["seq"])

    second = await connect()
    second.send(type="attach", id="a", stream=attached["stream"], epoch=attached["epoch"], after=last)
    again, *rest = await second.receive_until(is_terminal)
    assert (again["type"], again["id"], again["epoch"]) == ("attached", "a", attached["epoch"])
    assert rest[0]["seq"] == last + 1
    assert text(got) + text(rest) == engine.stream(attached["stream"]).text
    assert sum(len(each["token_ids"]) for each in got + rest if each["type"] == "delta") == 600


async def test_attach_to_the_end_of_a_closed_stream_brings_nothing_more(engine: Engine, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=3)
    attached, *_, completed = await socket.receive_until(is_terminal)
    answer = await socket.ask(type="attach", id="a", stream=attached["stream"], after=completed["seq"])
    assert answer["closed"]
    assert await socket.ask(type="ping", id="a") == {"type": "pong", "id": "a"}
    assert engine.stream(attached["stream"]).consumers == 0


async def test_an_attach_that_could_not_be_whole_is_refused(engine: Engine, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=3)
    stream = (await socket.receive_until(is_terminal))[0]["stream"]
    assert (await socket.ask(type="attach", id="a", stream=stream, after=99))["field"] == "after"
    assert (await socket.ask(type="attach", id="a", stream=stream, epoch="another"))["field"] == "epoch"


async def test_two_connections_share_a_stream(engine: Engine, connect) -> None:
    first, second = await connect(), await connect()
    first.send(**GREEDY, id="g", max_tokens=300)
    stream = (await first.receive())["stream"]
    second.send(type="attach", id="a", stream=stream)
    one, two = await asyncio.gather(first.receive_until(is_terminal), second.receive_until(is_terminal))
    assert text(one) == text(two) == engine.stream(stream).text
    assert one[-1] == two[-1]


async def test_a_stream_is_read_once_a_connection(engine: Engine, connect) -> None:
    """Events name their stream, not the request: two readings on one connection could not be told apart."""
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=ENDLESS)
    stream = (await socket.receive())["stream"]
    answer = await socket.ask(type="attach", id="a", stream=stream)
    assert (answer["type"], answer["field"]) == ("error", "stream")
    assert await socket.ask(type="cancel", id="c", stream=stream) == {"type": "ok", "id": "c"}


async def test_cancel_is_answered_and_ends_the_stream(engine: Engine, connect) -> None:
    socket, other = await connect(), await connect()
    socket.send(**GREEDY, id="g", max_tokens=ENDLESS)
    stream = (await socket.receive())["stream"]
    assert await other.ask(type="cancel", id="c", stream=stream) == {"type": "ok", "id": "c"}
    cancelled = (await socket.receive_until(is_terminal))[-1]
    assert (cancelled["type"], cancelled["reason"]) == ("cancelled", "client")
    assert await other.ask(type="cancel", id="c", stream=stream) == {"type": "ok", "id": "c"}


async def test_predictions_are_answered_each_by_its_id(engine: Engine, connect) -> None:
    socket = await connect()
    info = engine.model("digits").info
    row = [1.0] * info.input_shape[0]
    for index in range(20):
        socket.send(type="predict", id=f"p{index}", model="digits", inputs=[row] * (index + 1))
    answers = {(answer := await socket.receive())["id"]: answer for _ in range(20)}
    assert {id: len(answer["outputs"]) for id, answer in answers.items()} == {f"p{i}": i + 1 for i in range(20)}
    assert all(output["label"] in info.labels for answer in answers.values() for output in answer["outputs"])


async def test_many_requests_on_one_connection_interleave(engine: Engine, connect) -> None:
    socket = await connect()
    for index in range(8):
        socket.send(**GREEDY, id=f"g{index}", max_tokens=100)
    messages: list[dict[str, Any]] = []
    while sum(map(is_terminal, messages)) < 8:
        messages.append(await socket.receive())
    ids = {message["stream"]: message["id"] for message in messages if message["type"] == "attached"}
    assert sorted(ids.values()) == [f"g{index}" for index in range(8)]
    first_end = next(index for index, message in enumerate(messages) if is_terminal(message))
    begun = {message["stream"] for message in messages[:first_end] if message["type"] == "delta"}
    assert begun == set(ids), "every stream had begun before the first one ended"
    for stream in ids:
        own = [message for message in messages if message.get("stream") == stream]
        assert text(own) == engine.stream(stream).text
        assert own[0]["type"] == "attached"
        assert is_terminal(own[-1])


@pytest.mark.parametrize("extension_traits", [{"max_requests_per_connection": 2}])
async def test_requests_of_one_connection_are_bounded(engine: Engine, connect, extension_traits) -> None:
    socket = await connect()
    for id in ("g1", "g2"):
        socket.send(**GREEDY, id=id, max_tokens=ENDLESS)
    streams = [(await socket.receive_until(lambda each: each["type"] == "attached"))[-1]["stream"] for _ in range(2)]
    answer = await socket.ask(**GREEDY, id="g3")
    assert (answer["code"], answer["retryable"]) == ("overloaded", True)
    assert (await socket.ask(type="cancel", id="c", stream=streams[0]))["type"] == "ok", "what ends work is not refused"
    await socket.receive_until(is_terminal)
    assert (await socket.ask(**GREEDY, id="g3", max_tokens=1))["type"] == "attached"
    engine.cancel(streams[1])  # A server that stops would give it time to come to its end.


async def test_closing_the_socket_lets_go_of_everything(app, engine: Engine, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=ENDLESS)
    stream = engine.stream((await socket.receive())["stream"])
    released = asyncio.Event()
    rearm = stream.on_consumers
    stream.on_consumers = lambda stream: (rearm(stream), released.set())
    [connection] = app.connections
    socket.connection.close()
    await asyncio.wait_for(released.wait(), TIMEOUT_S)
    await asyncio.wait_for(connection.ended, TIMEOUT_S)
    assert not app.connections
    assert stream.consumers == 0
    engine.cancel(stream.id)


class GatedTransport:
    """A socket that takes nothing while its gate is shut."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.gate = asyncio.Event()
        self.more = asyncio.Condition()

    def send(self, frames: list[bytes]) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._send(frames))

    async def _send(self, frames: list[bytes]) -> None:
        await self.gate.wait()
        async with self.more:
            self.sent += frames
            self.more.notify_all()

    def close(self, code: int, reason: str) -> None:
        self.gate.set()

    def abort(self) -> None:
        self.gate.set()


async def test_a_socket_that_takes_nothing_gets_merged_deltas(engine: Engine) -> None:
    transport = GatedTransport()
    connection = Connection(lambda: engine, transport, Writes(), 10, lambda: None)
    connection.receive(json.dumps({"type": "ping", "id": "p"}).encode())
    connection.receive(json.dumps({**GREEDY, "id": "g", "max_tokens": 200}).encode())
    await asyncio.sleep(0)  # Its task asks the engine before the reference does, so it is admitted before.
    reference = await engine.generate(msgspec.convert({**GREEDY, "id": "r", "max_tokens": 200}, Generate))
    for status in engine.streams():
        async for _ in engine.stream(status.stream).cursor():
            pass
    transport.gate.set()
    async with asyncio.timeout(TIMEOUT_S), transport.more:
        await transport.more.wait_for(lambda: transport.sent and b"completed" in transport.sent[-1])
    pong, attached, delta, completed = map(json.loads, transport.sent)
    assert (pong["type"], attached["type"], completed["type"]) == ("pong", "attached", "completed")
    assert (delta["seq"], delta["last"]) == (0, completed["seq"] - 1)
    assert delta["text"] == reference.text
    connection.closed()


async def test_a_client_that_reads_no_answers_is_read_no_further(engine: Engine) -> None:
    transport = GatedTransport()
    connection = Connection(lambda: engine, transport, Writes(), 10, lambda: None)
    ping = json.dumps({"type": "ping", "id": "p" * 100}).encode()
    sent, wait = 0, None
    while wait is None and sent < 2 * OUTBOX_BYTES:
        wait = connection.receive(ping)
        sent += len(ping)
    assert wait is not None
    transport.gate.set()
    await asyncio.wait_for(wait, TIMEOUT_S)
    connection.closed()
