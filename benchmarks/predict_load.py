"""A client that asks for predictions as fast as it is answered: each connection has one request under way.

A process of its own on a core of its own, at real-time priority where it may: it never waits for a core, and its
clock tells the truth. ``python benchmarks/predict_load.py`` reads a `Load` as JSON and prints a `Seen`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Literal, cast
from urllib.parse import urlsplit

import picows
import uvloop
from load import real_time, waited_s
from processes import cpu_seconds

START_S = 60.0
"""How long all connections together may take to be open."""


@dataclass(frozen=True)
class Load:
    """What is sent where, and for how long."""

    door: Literal["websocket", "http"]
    url: str
    token: str
    model: str
    connections: int
    seconds: float
    warm_s: float
    """Before it is counted."""
    width: int
    """Numbers of a row."""
    cores: list[int]
    pid: int
    """The server's, whose processes' time is read."""
    count: bool
    """Whether the server is asked for its batches at the end, as the peers' can be."""


@dataclass
class Seen:
    """What the client saw while it counted."""

    seconds: float = 0.0
    answers: int = 0
    errors: int = 0
    error: str = ""
    """One of them."""
    latencies_ms: list[float] = field(default_factory=list)
    waited: float = 0.0
    """Seconds without a core though it was ready: such a round tells nothing."""
    cpu_s: float = 0.0
    """What the server and its children computed meanwhile."""
    batches: int = 0
    """Ever computed by the server, where it was asked; and the rows of them."""
    rows: int = 0


class Client:
    """All connections and what they see."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.seen = Seen()
        self.counting = self.over = False
        self.counted: asyncio.Future[dict[str, int]] = asyncio.get_running_loop().create_future()
        row = [round(0.01 * index - 0.05, 2) for index in range(load.width)]
        self.body = json.dumps({"type": "predict", "id": "1", "model": load.model, "inputs": [row]}).encode()

    def answered(self, sent: float, answer: bytes) -> None:
        """Note one answer."""
        if self.over and b'"counted"' in answer:
            self.counted.set_result(json.loads(answer))
        elif b'"result"' not in answer[:2000]:
            self.seen.errors += 1
            self.seen.error = answer[:300].decode(errors="replace")
        if self.counting:
            self.seen.answers += 1
            self.seen.latencies_ms.append((time.perf_counter() - sent) * 1000)

    def lost(self) -> None:
        """Note a connection that ended before it was to."""
        if not self.over:
            self.seen.errors += 1
            self.seen.error = "a connection was closed"


class Asker(picows.WSListener):
    """One WebSocket."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.sent = 0.0

    def ask(self) -> None:
        self.sent = time.perf_counter()
        self.transport.send(picows.WSMsgType.TEXT, self.client.body)

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            self.client.answered(self.sent, frame.get_payload_as_bytes())
            if not self.client.over:
                self.ask()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self.client.lost()


class Exchange(asyncio.Protocol):
    """One kept-alive HTTP connection."""

    def __init__(self, client: Client, head: bytes) -> None:
        self.client = client
        self.request = head + client.body
        self.received = bytearray()
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        fields = dict(line.lower().split(": ", 1) for line in head.decode().splitlines()[1:])
        if len(body) >= int(fields["content-length"]):
            self.received.clear()
            self.client.answered(self.sent, bytes(body))
            if not self.client.over:
                self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        self.client.lost()


async def connect(client: Client) -> Asker | Exchange:
    """One more connection."""
    load = client.load
    address = urlsplit(load.url)
    if load.door == "http":
        head = (
            f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(client.body)}\r\n\r\n"
        )
        _, exchange = await asyncio.get_running_loop().create_connection(
            lambda: Exchange(client, head.encode()), address.hostname, address.port
        )
        return exchange
    headers = {"Authorization": f"token {load.token}"}
    _, asker = await picows.ws_connect(lambda: Asker(client), load.url, extra_headers=headers)
    assert isinstance(asker, Asker)
    return asker


async def run(load: Load) -> Seen:
    """Connect, warm up, count."""
    client = Client(load)
    seen = client.seen
    async with asyncio.timeout(START_S):
        doors = [await connect(client) for _ in range(load.connections)]
    for door in doors:
        door.ask()
    await asyncio.sleep(load.warm_s)
    cpu_s = cpu_seconds(load.pid)
    client.counting, without, began = True, waited_s(), time.perf_counter()
    await asyncio.sleep(load.seconds)
    client.counting = False
    seen.seconds, seen.waited = time.perf_counter() - began, waited_s() - without
    seen.cpu_s = cpu_seconds(load.pid) - cpu_s
    client.over = True
    if load.count and isinstance(doors[0], Asker):
        doors[0].transport.send(picows.WSMsgType.TEXT, b'{"type":"count"}')
        counted = await asyncio.wait_for(client.counted, START_S)
        seen.batches, seen.rows = counted["batches"], counted["rows"]
    for door in doors:
        if isinstance(door, Asker):
            door.transport.disconnect(graceful=False)
        else:
            door.transport.abort()
    return seen


def main() -> None:
    load = Load(**json.load(sys.stdin))
    if load.cores:
        os.sched_setaffinity(0, load.cores)
    real_time()
    gc.freeze()
    gc.disable()
    try:
        seen = uvloop.run(run(load))
    except (OSError, TimeoutError, picows.WSError) as error:
        seen = Seen(errors=1, error=f"{type(error).__name__}: {error}")
    json.dump(asdict(seen), sys.stdout)


if __name__ == "__main__":
    main()
