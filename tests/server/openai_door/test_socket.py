"""How an answer's events reach a socket: framed for its client's HTTP, no faster than it takes them, after the head."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from jupyter_streaminfer.engine import Engine, Stream
from jupyter_streaminfer.protocol import Cancelled, Outcomes
from jupyter_streaminfer.server import sse
from jupyter_streaminfer.server.openai.handler import OpenAIHandler
from jupyter_streaminfer.server.sse import EventStream

from ..conftest import TIMEOUT_S
from .conftest import LONG, Spy, ends

SMALL_BYTES = 4096
WINDOW_TOKENS = 256


class Answer:
    """A client's end of one answer, read only when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: str) -> None:
        self._reader, self._writer, self._version = reader, writer, version
        self.head = ""

    async def whole(self) -> bytes:
        """Its body; for HTTP/1.1 put together from chunks, strictly."""
        async with asyncio.timeout(TIMEOUT_S):
            self.head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            if self._version == "1.0":
                return await self._reader.read()
            assert "transfer-encoding: chunked" in self.head
            body = b""
            while size := int((await self._reader.readuntil(b"\r\n"))[:-2], 16):
                body += await self._reader.readexactly(size)
                assert await self._reader.readexactly(2) == b"\r\n"
            assert await self._reader.readexactly(2) == b"\r\n"
            return body

    def close(self) -> None:
        """Leave, without a word."""
        self._writer.transport.abort()


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def ask(
    app: Any, http_server: Any, http_server_port: Any, jp_base_url: str, jp_auth_header: dict[str, str]
) -> AsyncIterator[Ask]:
    """Sends requests, each on a connection whose sockets hold a few thousand bytes."""
    listening, port = http_server_port
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)  # those that are accepted inherit it
    asked: list[Answer] = []

    async def ask(max_tokens: int, version: str = "1.1", **headers: str) -> Answer:
        end = socket.socket()
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
        end.setblocking(False)
        await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=end, limit=SMALL_BYTES)
        body = {"model": "tiny", "prompt": "a b", "temperature": 0, "ignore_eos": True, "stream": True}
        content = json.dumps({**body, "max_tokens": max_tokens}).encode()
        headers = {"Host": "127.0.0.1", **jp_auth_header, "Content-Length": str(len(content)), **headers}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        first = f"POST {jp_base_url}streaminfer/v1/completions HTTP/{version}"
        writer.write("\r\n".join([first, *lines, "", ""]).encode() + content)
        asked.append(Answer(reader, writer, version))
        return asked[-1]

    yield ask
    for answer in asked:
        answer.close()


def told(body: bytes) -> list[str]:
    """The texts of an answer's chunks; the rest of it is as it is to be."""
    text = body.decode().replace(": ping\n\n", "")
    assert text.endswith("\n\n")
    *chunks, finish, done = [each.removeprefix("data: ") for each in text[:-2].split("\n\n")]
    assert json.loads(finish)["choices"][0]["finish_reason"] == "length"
    assert done == "[DONE]"
    return [json.loads(chunk)["choices"][0]["text"] for chunk in chunks]


async def paused(stream: Stream) -> None:
    """Wait until a stream waits for its readers, or ended."""
    pause, reached = stream.on_pause, asyncio.Event()
    stream.on_pause = lambda stream: (pause(stream), reached.set())
    if not (stream.paused or stream.closed):
        await asyncio.wait_for(reached.wait(), TIMEOUT_S)


@pytest.fixture
def extension_traits() -> dict[str, Any]:
    return {"window_tokens": WINDOW_TOKENS}


@pytest.mark.parametrize(("version", "direct"), [("1.0", True), ("1.1", True), ("1.1", False)])
async def test_a_stream_waits_for_who_takes_nothing_and_goes_on(
    ask: Ask, engine: Engine, monkeypatch: pytest.MonkeyPatch, version: str, direct: bool
) -> None:
    """What the socket does not take is not made: it comes merged, and no byte is lost where the socket was full.

    Not ``direct``: by Tornado alone, which has all to do where TLS ends in this process. On a busy machine 1,024 tokens
    once came merged, all fitted into the sockets, and nothing ever waited.
    """
    if not direct:
        monkeypatch.setattr(sse, "DIRECT_BYTES", 0)
    spy, tokens = Spy(engine, monkeypatch), 48 * WINDOW_TOKENS
    answer = await ask(tokens, version)
    await spy.started(1)
    [stream] = spy.streams
    await paused(stream)
    assert not stream.closed
    texts = told(await answer.whole())
    assert "".join(texts) == stream.text
    assert len(texts) <= tokens - WINDOW_TOKENS + 1, "what it was behind when the stream was paused came as one"
    assert stream.log.tokens == tokens


async def test_who_leaves_with_a_full_socket_ends_the_stream(
    ask: Ask, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(engine, monkeypatch)
    answer = await ask(LONG)
    await spy.started(1)
    await paused(spy.streams[0])
    answer.close()
    terminal = await ends(spy.streams[0])
    assert isinstance(terminal, Cancelled)
    assert terminal.reason == "abandoned"
    assert engine.metrics().traffic.outcomes == Outcomes(disconnected=1)


class TestHeartbeats:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"heartbeat_s": 0.1}

    async def test_no_comment_overtakes_the_head(
        self, ask: Ask, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that did would stand between the status line and nothing, in no chunk."""
        due, flush, ping = asyncio.Event(), OpenAIHandler.flush, EventStream.ping

        async def late(self: OpenAIHandler, *args: Any, **options: Any) -> None:
            await due.wait()
            await flush(self, *args, **options)

        monkeypatch.setattr(OpenAIHandler, "flush", late, raising=False)
        monkeypatch.setattr(EventStream, "ping", lambda self: (ping(self), due.set()))
        answer = await ask(5)
        assert len("".join(told(await answer.whole()))) > 0
        assert answer.head.startswith("http/1.1 200")


class TestCompression:
    @pytest.fixture
    def server_traits(self) -> dict[str, Any]:
        return {"tornado_settings": {"compress_response": True}}

    async def test_events_are_not_compressed(self, ask: Ask, engine: Engine) -> None:
        """They are told as they come, so a compressor would flush at each, and be kept as long as the stream."""
        answer = await ask(5, Accept_Encoding="gzip")
        texts = told(await answer.whole())
        assert "content-encoding" not in answer.head
        assert texts
