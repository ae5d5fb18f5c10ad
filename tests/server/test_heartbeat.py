"""Heartbeats: a slow end is told from a dead one, by the rule and on real sockets."""

import asyncio
import logging
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.iostream import IOStream

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.server.app import StreaminferApp
from jupyter_streaminfer.server.heartbeat import LOOKS, Heartbeat, Pulse, keep_alive

from .conftest import TIMEOUT_S, logged
from .raw_socket import RawSocket

INTERVAL_S = 10.0
STALLED_S = 50.0
EVERY_S = INTERVAL_S / LOOKS
PING = 2

FRAME = bytes(2**20)
FRAMES = 24
"""More than the system's own buffers take."""


class Line:
    """A connection with a far end that reads and answers as it is told, and a buffer between."""

    def __init__(self, buffer: int = 1000, *, answers: bool = True) -> None:
        self.now = 0.0
        self.buffer = buffer
        self.heard = self.taken = self.written = 0
        self.pings: list[float] = []
        self._unanswered: list[int] = []
        self.heartbeat = Heartbeat(self, INTERVAL_S, STALLED_S, self.now, answers=answers)

    def pulse(self) -> Pulse:
        return Pulse(self.heard, self.taken, self.written, self.written - self.taken > self.buffer)

    def ping(self) -> None:
        self.pings.append(self.now)
        self.written += PING
        self._unanswered.append(self.written)

    def abort(self) -> None:
        raise AssertionError("the rule itself drops nothing")

    def write(self, size: int) -> None:
        self.written += size

    def read(self, size: int, *, answers: bool = True) -> None:
        """The far end reads some of what there is, and answers the pings that are among it."""
        self.taken = min(self.written, self.taken + size)
        while answers and self._unanswered and self._unanswered[0] <= self.taken:
            del self._unanswered[0]
            self.heard += PING

    def look(self, seconds: float = EVERY_S) -> str:
        self.now += seconds
        return self.heartbeat.look(self.now)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=100))
def test_who_answers_is_alive_however_much_there_is(writes: list[int]) -> None:
    line = Line()
    for size in writes:
        line.write(size)
        line.read(10_000)
        assert line.look() == "alive"
    assert all(after - before == INTERVAL_S for before, after in zip(line.pings, line.pings[1:], strict=False))
    assert len(line.pings) >= len(writes) // LOOKS


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3)), max_size=100))
def test_who_reads_a_little_all_the_time_is_slow_and_not_dead(steps: list[tuple[int, int]]) -> None:
    """It never gets as far as the ping, so it cannot answer."""
    line = Line()
    line.write(100_000)
    for size, pause in steps:
        line.read(size + 1)
        for _ in range(pause + 1):
            assert line.look() == "alive"


@given(st.integers(0, 50), st.floats(0.0, EVERY_S), st.integers(0, 900))
def test_who_falls_silent_is_dead_within_two_intervals(looks: int, offset: float, backlog: int) -> None:
    """From its last answer on, whatever of ours its machine's buffers still take."""
    line = Line()
    for _ in range(looks):
        line.read(10_000)
        assert line.look() == "alive"
    line.read(10_000)
    gone = line.now
    line.look(offset)
    line.write(backlog)
    verdict = "alive"
    while verdict == "alive":
        verdict = line.look()
    assert verdict == "dead"
    assert line.now - gone <= 2 * INTERVAL_S + 1e-6
    assert line.now - line.pings[-1] >= INTERVAL_S / 2, "and not before it could have answered"


def test_a_machine_between_that_takes_everything_keeps_nobody_alive() -> None:
    """A proxy in front of a dead client acknowledges all that is written; it answers no ping."""
    line = Line()
    verdict = "alive"
    while verdict == "alive":
        line.write(100)
        line.read(10_000, answers=False)
        verdict = line.look()
    assert (verdict, line.now) == ("dead", 2 * INTERVAL_S - EVERY_S)


def test_who_takes_nothing_of_a_full_socket_has_its_time() -> None:
    line = Line()
    line.write(5000)
    verdict = "alive"
    while verdict == "alive":
        verdict = line.look()
    assert (verdict, line.now) == ("stalled", STALLED_S)
    assert line.pings == [], "none would get through"


def test_a_server_that_stood_still_blames_nobody() -> None:
    line = Line()
    for _ in range(LOOKS):
        line.read(10_000)
        line.look()
    assert line.look(1000.0) == "alive"
    line.read(10_000)
    assert line.look() == "alive"


def test_where_nobody_can_answer_arrival_counts() -> None:
    line = Line(answers=False)
    for _ in range(10 * LOOKS):
        line.read(10_000, answers=False)
        assert line.look() == "alive"
    gone = line.now
    verdict = "alive"
    while verdict == "alive":
        verdict = line.look()
    assert (verdict, line.now - gone <= 2 * INTERVAL_S) == ("dead", True)


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system has other names for it")
async def test_where_nothing_is_written_the_system_watches() -> None:
    """An answer of the OpenAI door that comes whole: its client may vanish long before."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        stream = IOStream(client)
        keep_alive(stream, 15.0)
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle_s, probe_s, probes = (client.getsockopt(socket.IPPROTO_TCP, option) for option in options)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert idle_s + probe_s * probes <= 2 * 15.0


@pytest.fixture(params=["tornado", "picows"])
def frames(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def raw(app: StreaminferApp, http_server, jp_http_port: int, jp_base_url: str, jp_auth_header) -> Any:
    socket = await RawSocket.open(jp_http_port, jp_base_url, jp_auth_header["Authorization"])
    yield socket
    socket.writer.transport.abort()


class TestOnSockets:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"heartbeat_s": 0.2, "stalled_s": 1.5}

    @pytest.fixture
    def server_traits(self) -> dict[str, Any]:
        """Jupyter's own pings would be much too rare, and say nothing here."""
        return {"websocket_ping_interval": 3600, "tornado_settings": {"ws_ping_interval": 3_600_000}}

    async def test_a_client_is_pinged_and_kept(self, app: StreaminferApp, connect) -> None:
        socket = await connect()
        pinged = asyncio.Event()
        socket.connection.on_ping = lambda data: pinged.set()
        for _ in range(4):
            await asyncio.wait_for(pinged.wait(), TIMEOUT_S)
            pinged.clear()
        assert await socket.ask(type="ping", id="p") == {"type": "pong", "id": "p"}

    async def test_a_client_that_answers_no_ping_is_dropped(self, app: StreaminferApp, connect, caplog) -> None:
        caplog.set_level(logging.INFO, "jupyter_streaminfer")
        socket = await connect()
        socket.connection.protocol._send_pong = lambda data: None
        assert await socket.closed() is None
        assert not app.connections
        assert len(app.gate) == 0
        assert "A dead connection" in logged(caplog)

    async def test_whoever_reads_slowly_is_not_dropped(self, app: StreaminferApp, raw: RawSocket) -> None:
        """It answers no ping at all: they stand behind much that it reads bit by bit, for many intervals."""
        [connection] = app.connections
        sending = [connection.transport.send([FRAME]) for _ in range(FRAMES)][-1]
        assert sending is not None, "the socket took everything"
        left = FRAMES * (10 + len(FRAME))
        loop = asyncio.get_running_loop()
        began = loop.time()
        while left > 0:
            data = await asyncio.wait_for(raw.reader.read(2**16), TIMEOUT_S)
            assert data, "dropped"
            left -= len(data)
            await asyncio.sleep(0.005)
        await asyncio.wait_for(sending, TIMEOUT_S)
        assert loop.time() - began > 5 * 0.2

    async def test_a_dead_clients_streams_are_nobodys(self, engine: Engine, raw: RawSocket) -> None:
        raw.send(type="generate", id="g", model="tiny", prompt="a b", max_tokens=15_000)
        await asyncio.wait_for(raw.read_frame(), TIMEOUT_S)
        [status] = engine.streams()
        stream = engine.stream(status.stream)
        left = asyncio.Event()
        rearm = stream.on_consumers
        stream.on_consumers = lambda stream: (rearm(stream), left.set())
        await asyncio.wait_for(left.wait(), TIMEOUT_S)
        assert stream.consumers == 0
        engine.cancel(stream.id)


class TestStalled:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"heartbeat_s": 10.0, "stalled_s": 0.5}

    async def test_a_socket_that_takes_nothing_is_dropped(
        self, app: StreaminferApp, engine: Engine, raw: RawSocket, caplog
    ) -> None:
        caplog.set_level(logging.INFO, "jupyter_streaminfer")
        [connection] = app.connections
        sending = [connection.transport.send([FRAME]) for _ in range(FRAMES)][-1]
        assert sending is not None, "the socket took everything"
        await asyncio.wait_for(connection.ended, TIMEOUT_S)
        with pytest.raises(OSError, match="closed"):
            await asyncio.wait_for(sending, TIMEOUT_S)
        assert not app.connections
        assert "A stalled connection" in logged(caplog)
