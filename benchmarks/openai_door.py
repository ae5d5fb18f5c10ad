"""A client of ``v1/completions`` with server-sent events: a kept-alive connection for each request under way.

Written like `websocket_door`, so that neither door's client takes more of the cores than it must.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import msgspec
from models import token_ids
from workload import Request


class Choice(msgspec.Struct):
    """What is read of an event's choice."""

    text: str = ""


class Chunk(msgspec.Struct):
    """What is read of an event; an ``error`` ends the stream."""

    choices: list[Choice] = []
    error: object = None


decode = msgspec.json.Decoder(Chunk).decode


class OpenAIDoor:
    """The callbacks are `WebSocketDoor`'s. ``url`` is what ``v1/`` stands under."""

    def __init__(
        self,
        url: str,
        token: str,
        model: str,
        note: Callable[[int, list[int], float], object],
        ended: Callable[[int, str | None], None],
    ) -> None:
        self.address = urlsplit(url)
        self.token = token
        self.model = model
        self.note = note
        self.ended = ended
        self.idle: list[Exchange] = []
        self.starting: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect once, to see that someone answers."""
        self.idle.append(await self._connect())

    def close(self) -> None:
        for exchange in self.idle:
            exchange.transport.close()

    def start(self, index: int, request: Request) -> None:
        """Ask for a generation."""
        body = msgspec.json.encode(
            {
                "model": self.model,
                "prompt": request.token_ids,
                "max_tokens": request.max_tokens,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
            }
        )
        lines = [
            f"POST {self.address.path}v1/completions HTTP/1.1",
            f"Host: {self.address.netloc}",
            f"Authorization: Bearer {self.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        head = "\r\n".join([*lines, "", ""]).encode()
        if self.idle:
            self.idle.pop().send(index, head + body)
        else:
            task = asyncio.create_task(self._start(index, head + body))
            self.starting.add(task)
            task.add_done_callback(self.starting.discard)

    async def _start(self, index: int, message: bytes) -> None:
        (await self._connect()).send(index, message)

    async def _connect(self) -> Exchange:
        loop = asyncio.get_running_loop()
        _, exchange = await loop.create_connection(
            lambda: Exchange(self), self.address.hostname or "", self.address.port or 80
        )
        return exchange


class Exchange(asyncio.Protocol):
    """One connection: a request, its answer in chunks, and the next."""

    def __init__(self, door: OpenAIDoor) -> None:
        self.door = door
        self.index: int | None = None
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.headed = False
        self.events = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one only in what it does

    def send(self, index: int, message: bytes) -> None:
        """Ask; the answer's tokens are ``index``'s."""
        self.index = index
        self.headed = False
        self.transport.write(message)

    def data_received(self, data: bytes) -> None:
        at = time.perf_counter()
        self.received += data
        if not self.headed:
            head, found, rest = self.received.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 200 " not in head.splitlines()[0]:
                self._end(bytes(self.received).decode(errors="replace"))
                return
            self.headed, self.received = True, rest
        while self.index is not None and (chunk := self._chunk()) is not None:
            if chunk:
                self.events += chunk
                self._take(at)
            else:
                self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self.door.idle:
            self.door.idle.remove(self)
        if self.index is not None:
            self._end(f"the connection was closed: {error}")

    def _chunk(self) -> bytes | None:
        """The next whole chunk of the body, taken off what was received; the last one is empty."""
        line, found, _ = self.received.partition(b"\r\n")
        if not found:
            return None
        size, start = int(line, 16), len(line) + 2
        if len(self.received) < start + size + 2:
            return None
        chunk = bytes(self.received[start : start + size])
        del self.received[: start + size + 2]
        return chunk

    def _take(self, at: float) -> None:
        """Note the tokens of all whole events."""
        *events, rest = self.events.split(b"\n\n")
        self.events = rest
        for event in events:
            if self.index is None or not event.startswith(b"data: ") or event == b"data: [DONE]":
                continue
            chunk = decode(event[6:])
            if chunk.error is not None:
                self._end(str(chunk.error))
            elif chunk.choices and chunk.choices[0].text:
                self.door.note(self.index, token_ids(chunk.choices[0].text), at)

    def _end(self, reason: str | None) -> None:
        index, self.index = self.index, None
        if reason is None:
            self.door.idle.append(self)
        else:
            self.transport.close()
        if index is not None:
            self.door.ended(index, reason)
