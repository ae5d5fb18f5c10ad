"""A reader of one generation that trusts nothing: it attaches again after each loss and checks every ``seq``."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from faults_bench import MODEL
from faults_socket import RawSocket
from live_server import Server

from jupyter_streaminfer.protocol import (
    TERMINAL,
    Attached,
    Cancelled,
    Completed,
    Delta,
    Error,
    Failed,
    Incomplete,
    ServerMessage,
)

PATIENCE_S = 300.0
AGAIN_S = 0.1
"""How long it waits at most before it connects again, where the server says nothing of that."""

Terminal = Completed | Cancelled | Failed | Incomplete


def generate(token_ids: list[int], max_tokens: int, **options: Any) -> dict[str, Any]:
    """A greedy request of exactly so many new tokens, without its id."""
    return {
        "type": "generate",
        "model": MODEL,
        "token_ids": token_ids,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        **options,
    }


class Reader:
    """Reads one generation to its end, over as many connections as that takes."""

    def __init__(
        self, server: Server, client: str, request: dict[str, Any], on_tokens: Callable[[float], object] | None = None
    ) -> None:
        """``on_tokens`` is told when tokens came, by the monotonic clock."""
        self._server = server
        self._client = client
        self._request = request
        self._on_tokens = on_tokens or (lambda at: None)
        self._epoch = ""
        self._after = -1
        self._texts: list[str] = []
        self.stream = ""
        self.token_ids: list[int] = []
        self.terminal: Terminal | None = None
        self.refusal: Error | None = None
        """Why it could not go on, where the server refused it for good."""
        self.asked = 0
        """How often the generation was asked for: again where a connection was lost before the answer."""
        self.connections = 0
        self.faults: list[str] = []
        """What the server should not have said."""

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def ending(self) -> str:
        """How it ended: ``completed``, ``cancelled``, ``failed: worker_lost``, ``refused: overloaded``, and so on."""
        if self.terminal is None:
            return "lost" if self.refusal is None else f"refused: {self.refusal.code}"
        name = type(self.terminal).__name__.lower()
        return f"{name}: {self.terminal.error.code}" if isinstance(self.terminal, Failed) else name

    async def run(self) -> Reader:
        """Read to the end; after a time that no stream here should take it is given up as ``lost``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while self.terminal is None and self.refusal is None:
                    await self._connect_and_read()
        return self

    async def _connect_and_read(self) -> None:
        try:
            socket = await RawSocket.open(self._server, self._client)
        except OSError:
            await asyncio.sleep(AGAIN_S * random.random())
            return
        self.connections += 1
        try:
            await self._read(socket)
        except OSError:
            return
        finally:
            socket.abort()

    async def _read(self, socket: RawSocket) -> None:
        socket.send(self._next_request())
        while self.terminal is None and self.refusal is None:
            for message in await socket.receive():
                if isinstance(message, Error) and message.retryable:
                    await asyncio.sleep((message.retry_after_ms or AGAIN_S * 1000) / 1000)
                    socket.send(self._next_request())
                else:
                    self._take(message)

    def _next_request(self) -> dict[str, Any]:
        if self.stream:
            place = {"stream": self.stream, "epoch": self._epoch, "after": self._after}
            return {"type": "attach", "id": f"a{self.connections}", **place}
        self.asked += 1
        return {**self._request, "id": f"g{self.asked}"}

    def _take(self, message: ServerMessage) -> None:
        match message:
            case Attached():
                if self.stream and (message.stream, message.epoch) != (self.stream, self._epoch):
                    self.faults.append(f"another stream or epoch: {message}")
                if not message.recovered or message.floor > self._after + 1:
                    self.faults.append(f"not everything after {self._after} is there: {message}")
                self.stream, self._epoch = message.stream, message.epoch
            case Delta():
                self._expect(message.seq)
                self._after = message.seq if message.last is None else message.last
                self._texts.append(message.text)
                self.token_ids += message.token_ids
                if message.token_ids:
                    self._on_tokens(time.monotonic())
            case Error():
                self.refusal = message
            case _ if isinstance(message, TERMINAL):
                if self.terminal is not None:
                    self.faults.append(f"a second terminal event: {message}")
                self._expect(message.seq)
                self.terminal = message

    def _expect(self, seq: int) -> None:
        if seq != self._after + 1:
            self.faults.append(f"event {seq} after {self._after}")


async def read_all(server: Server, requests: list[dict[str, Any]], client: str = "reference") -> list[Reader]:
    """Read each request's generation, all at once, a connection each."""
    readers = [Reader(server, f"{client}-{index}", request) for index, request in enumerate(requests)]
    return list(await asyncio.gather(*(reader.run() for reader in readers)))
