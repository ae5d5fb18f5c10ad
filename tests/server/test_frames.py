"""Frames by both parsers: what is understood, what ends a connection, and who reads after a full socket."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tornado.iostream import IOStream, SSLIOStream

from jupyter_streaminfer.server import picows_frames, takeover
from jupyter_streaminfer.server.app import StreaminferApp
from jupyter_streaminfer.server.connection import OUTBOX_BYTES
from jupyter_streaminfer.server.frames import MAX_FRAME_BYTES, frame_size, text_frames
from jupyter_streaminfer.server.picows_frames import PicowsFrames
from jupyter_streaminfer.server.tornado_frames import TornadoFrames

from .conftest import TIMEOUT_S, logged
from .raw_socket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawSocket, frame, length_of

PING_REQUEST = b'{"type":"ping","id":"p"}'
PONG_REPLY = {"type": "pong", "id": "p"}
Open = Callable[..., Awaitable[RawSocket]]


@pytest.fixture(params=["tornado", "picows"])
def frames(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def open_raw(
    app: StreaminferApp, http_server, jp_http_port: int, jp_base_url: str, jp_auth_header
) -> AsyncIterator[Open]:
    opened: list[RawSocket] = []

    async def open_raw(**options: Any) -> RawSocket:
        opened.append(await RawSocket.open(jp_http_port, jp_base_url, jp_auth_header["Authorization"], **options))
        return opened[-1]

    yield open_raw
    for each in opened:
        each.writer.transport.abort()


async def test_the_parser_is_the_one_that_was_asked_for(app: StreaminferApp, open_raw: Open, frames: str) -> None:
    raw = await open_raw()
    raw.writer.write(frame(TEXT, PING_REQUEST))
    assert await raw.receive() == PONG_REPLY
    [connection] = app.connections
    assert type(connection.transport) is {"tornado": TornadoFrames, "picows": PicowsFrames}[frames]


async def test_frames_right_behind_the_upgrade_are_answered(open_raw: Open) -> None:
    """A client may send before it has read the answer; whoever takes the socket over gets that, too."""
    whole = frame(TEXT, PING_REQUEST)
    raw = await open_raw(behind=whole * 3 + whole[:9])
    raw.writer.write(whole[9:])
    assert [await raw.receive() for _ in range(4)] == [PONG_REPLY] * 4


async def test_compression_is_never_agreed_on(open_raw: Open) -> None:
    raw = await open_raw(headers="Sec-WebSocket-Extensions: permessage-deflate\r\n")
    assert "Sec-WebSocket-Extensions" not in raw.head
    raw.writer.write(frame(TEXT, PING_REQUEST))
    assert await raw.receive() == PONG_REPLY


async def test_fragments_with_a_ping_between_them_are_one_request(open_raw: Open) -> None:
    raw = await open_raw()
    raw.writer.write(frame(TEXT, PING_REQUEST[:5], fin=False) + frame(PING, b"now?"))
    raw.writer.write(frame(CONTINUATION, PING_REQUEST[5:9], fin=False) + frame(CONTINUATION, PING_REQUEST[9:]))
    assert await raw.read_frame() == (PONG, b"now?")
    assert await raw.receive() == PONG_REPLY


@pytest.mark.parametrize("fragments", [1, 2])
async def test_a_binary_message_is_refused_and_nothing_else(open_raw: Open, fragments: int) -> None:
    raw = await open_raw()
    if fragments == 1:
        raw.writer.write(frame(BINARY, PING_REQUEST))
    else:
        raw.writer.write(frame(BINARY, b"{", fin=False) + frame(CONTINUATION, b"}"))
    refused = await raw.receive()
    assert (refused["code"], "text frame" in refused["message"]) == ("invalid_request", True)
    raw.writer.write(frame(TEXT, PING_REQUEST))
    assert await raw.receive() == PONG_REPLY


VIOLATIONS = {
    "a reserved bit": frame(TEXT, PING_REQUEST, rsv=0b100),
    "an unknown opcode": frame(0x3, b""),
    "an unknown control opcode": frame(0xB, b""),
    "a long ping": frame(PING, bytes(126)),
    "a ping in fragments": frame(PING, b"", fin=False),
    "nothing to continue": frame(CONTINUATION, b"}"),
    "a message within a message": frame(TEXT, b"{", fin=False) + frame(TEXT, PING_REQUEST),
    "a binary one within a message": frame(TEXT, b"{", fin=False) + frame(BINARY, b""),
}


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_what_is_no_frame_ends_the_connection_and_no_other(
    app: StreaminferApp, open_raw: Open, name: str
) -> None:
    raw, other = await open_raw(), await open_raw()
    connections = list(app.connections)
    raw.writer.write(VIOLATIONS[name])
    assert await raw.end() in (None, 1002)
    await asyncio.wait_for(asyncio.wait([each.ended for each in connections], return_when="FIRST_COMPLETED"), TIMEOUT_S)
    other.writer.write(frame(TEXT, PING_REQUEST))
    assert await other.receive() == PONG_REPLY
    assert len(app.connections) == len(app.gate) == 1


async def test_a_frame_that_would_be_too_long_is_refused_by_its_head(open_raw: Open) -> None:
    raw = await open_raw()
    raw.writer.write(bytes((0x81,)) + length_of(MAX_FRAME_BYTES + 1))
    assert await raw.end() == 1009


async def test_fragments_cannot_get_past_the_limit(
    open_raw: Open, monkeypatch: pytest.MonkeyPatch, frames: str
) -> None:
    if frames == "picows":
        monkeypatch.setattr(picows_frames, "MAX_FRAME_BYTES", 2**20)
    else:
        monkeypatch.setattr("jupyter_streaminfer.server.ws.MAX_FRAME_BYTES", 2**20)
    raw = await open_raw()
    part = bytes(2**18 - 100)
    raw.writer.write(frame(TEXT, part, fin=False) + frame(CONTINUATION, part, fin=False) * 3)
    raw.writer.write(frame(PING, b"still here"))
    assert await raw.read_frame() == (PONG, b"still here")
    raw.writer.write(frame(CONTINUATION, bytes(401)))
    assert await raw.end() == 1009


async def test_a_long_frame_is_one_request_and_the_next_ones_are_read(open_raw: Open) -> None:
    """Also where a buffer for it is let go of after it: not a byte behind it may be lost."""
    raw = await open_raw()
    long = json.dumps({"type": "ping", "id": "p", "more": "x" * 3_000_000}).encode()
    for _ in range(3):
        raw.writer.write(frame(TEXT, long) + frame(TEXT, PING_REQUEST) + frame(TEXT, long)[:-5])
        assert (await raw.receive())["field"] == "more"
        assert await raw.receive() == PONG_REPLY
        raw.writer.write(long[-5:])
        assert (await raw.receive())["field"] == "more"
        raw.writer.write(frame(TEXT, PING_REQUEST))
        assert await raw.receive() == PONG_REPLY


@pytest.mark.parametrize(("payload", "code"), [(b"\x03\xe8bye", 1000), (b"\x0f\xa1", 4001)])
async def test_a_goodbye_is_answered_and_the_socket_closed(
    app: StreaminferApp, open_raw: Open, payload: bytes, code: int
) -> None:
    raw = await open_raw()
    [connection] = app.connections
    raw.writer.write(frame(CLOSE, payload))
    assert await raw.end() == code
    await asyncio.wait_for(connection.ended, TIMEOUT_S)
    assert not app.connections
    assert len(app.gate) == 0


async def test_the_servers_goodbye_comes_after_what_was_written(app: StreaminferApp, open_raw: Open) -> None:
    raw = await open_raw()
    [connection] = app.connections
    connection.receive(PING_REQUEST)
    connection.close(1001, "the server stops")
    assert await raw.receive() == PONG_REPLY
    assert await raw.read_frame() == (CLOSE, b"\x03\xe9the server stops")
    assert not connection.ended.done()
    raw.writer.write(frame(CLOSE, b"\x03\xe9"))
    assert await raw.end() is None
    await asyncio.wait_for(connection.ended, TIMEOUT_S)


async def fill(raw: RawSocket, request: bytes) -> int:
    """Send a request again and again until none is taken any more; how often.

    Then the system's buffers, the server's and the outbox are full.
    """
    sent = 0
    raw.writer.transport.set_write_buffer_limits(high=0)
    while True:
        raw.writer.write(request * 1000)
        sent += 1000
        try:
            await asyncio.wait_for(raw.writer.drain(), 0.5)
        except TimeoutError:
            return sent


async def test_whoever_reads_nothing_is_read_no_further_and_loses_nothing(app: StreaminferApp, open_raw: Open) -> None:
    raw = await open_raw()
    [connection] = app.connections
    id = "p" * 100
    sent = await fill(raw, frame(TEXT, json.dumps({"type": "ping", "id": id}).encode()))
    assert connection._outbox_bytes < 2 * OUTBOX_BYTES
    answer = text_frames([json.dumps({"type": "pong", "id": id}, separators=(",", ":")).encode()])
    async with asyncio.timeout(TIMEOUT_S):
        assert await raw.reader.readexactly(len(answer) * sent) == answer * sent
    raw.writer.write(frame(TEXT, PING_REQUEST))
    assert await raw.receive() == PONG_REPLY


async def test_whoever_vanishes_while_it_is_read_no_further_leaves_nothing(app: StreaminferApp, open_raw: Open) -> None:
    raw = await open_raw()
    [connection] = app.connections
    await fill(raw, frame(TEXT, json.dumps({"type": "ping", "id": "p" * 100}).encode()))
    raw.writer.transport.abort()
    await asyncio.wait_for(connection.ended, TIMEOUT_S)
    assert len(app.gate) == 0


async def test_whoever_vanishes_from_a_full_socket_leaves_nothing(app: StreaminferApp, open_raw: Open) -> None:
    raw = await open_raw()
    [connection] = app.connections
    while (full := connection.transport.send([bytes(2**20)])) is None:
        pass
    raw.writer.transport.abort()
    await asyncio.wait_for(connection.ended, TIMEOUT_S)
    with pytest.raises(OSError, match="closed"):
        await asyncio.wait_for(full, TIMEOUT_S)
    with pytest.raises(OSError, match="clos"):
        connection.transport.send([b"too late"])
    assert len(app.gate) == 0


class TestFallback:
    @pytest.fixture(params=["auto", "picows"])
    def frames(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    async def test_what_picows_does_not_let_us_do_tornado_does(
        self, app: StreaminferApp, open_raw: Open, monkeypatch: pytest.MonkeyPatch, caplog
    ) -> None:
        """Its protocol's constructor is no public interface: another release may have another one."""

        def changed(*arguments: object) -> None:
            raise TypeError("an argument more")

        monkeypatch.setattr("picows.picows.WSProtocol", changed)
        for _ in range(2):
            raw = await open_raw()
            raw.writer.write(frame(TEXT, PING_REQUEST))
            assert await raw.receive() == PONG_REPLY
        assert {type(connection.transport) for connection in app.connections} == {TornadoFrames}
        assert logged(caplog).count("all stay with Tornado from now on") == 1

    async def test_a_socket_that_is_lost_on_the_way_is_let_go_of(
        self, app: StreaminferApp, open_raw: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refuse(*arguments: object) -> None:
            raise OSError("no")

        monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", refuse)
        raw = await open_raw()
        assert await raw.end() is None
        assert not app.connections
        assert len(app.gate) == 0
        raw = await open_raw()
        raw.writer.write(frame(TEXT, PING_REQUEST))
        assert await raw.receive() == PONG_REPLY


def test_without_picows_or_on_windows_there_is_no_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert takeover.available()
    with monkeypatch.context() as windows:
        windows.setattr(takeover.sys, "platform", "win32")
        assert not takeover.available()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not takeover.available()


async def test_only_a_tcp_socket_without_tls_is_handed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tcp = IOStream(socket.create_connection(server.getsockname()))
        tls = SSLIOStream(socket.create_connection(server.getsockname()), ssl_options=ssl.create_default_context())
        one, other = socket.socketpair()
        local = IOStream(one)
        assert [takeover.possible(each) for each in (tcp, tls, local)] == [True, False, False]
        for stream in (tcp, tls, local):
            stream.close()
        assert not takeover.possible(tcp)
        other.close()


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_text_frames_are_what_they_should_be(length: int) -> None:
    text = b"x" * length
    written = text_frames([text, b"{}"])
    assert written == frame(TEXT, text, masked=False) + frame(TEXT, b"{}", masked=False)
    assert len(written) == frame_size(length) + frame_size(2)
