"""How a worker process and the server come to share a connection."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import socket
from collections.abc import Callable
from typing import Protocol

from jupyter_streaminfer.workers.connection import Connection

SECRET_BYTES = 32
SECRET_TIMEOUT_S = 5.0
"""How long whoever connects may take to show the secret."""


class Channel(Protocol):
    """The server's side, before the process is there."""

    argument: str
    """What the process gets on its command line; `connect` understands it."""
    handles: tuple[int, ...]
    """The descriptors that it inherits."""
    secret: bytes
    """What it reads first from its standard input."""

    def spawned(self) -> None:
        """Close what is the process's own; called when it was started, on any thread."""

    async def connect(self, make: Callable[[], Connection]) -> Connection:
        """Wait for the process."""

    def close(self) -> None:
        """Free what no connection has taken."""


class SocketPair:
    """A pair of Unix sockets, one of which the process inherits: nobody else can ever connect."""

    secret = b""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self.argument = f"fd:{self._theirs.fileno()}"
        self.handles: tuple[int, ...] = (self._theirs.fileno(),)

    def spawned(self) -> None:
        """See `Channel.spawned`."""
        self._theirs.close()

    async def connect(self, make: Callable[[], Connection]) -> Connection:
        """See `Channel.connect`."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(make, sock=self._ours.dup())
        return connection

    def close(self) -> None:
        """See `Channel.close`."""
        self._ours.close()


class Loopback:
    """TCP on this machine, for systems where a process inherits no socket; whoever connects must know a secret."""

    handles: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.argument = f"tcp:{self._listener.getsockname()[1]}"
        self.secret = secrets.token_bytes(SECRET_BYTES)

    def spawned(self) -> None:
        """See `Channel.spawned`."""

    async def connect(self, make: Callable[[], Connection]) -> Connection:
        """See `Channel.connect`."""
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(self._listener)
            try:
                if await self._shows_secret(accepted):
                    _, connection = await loop.connect_accepted_socket(make, accepted)
                    return connection
                accepted.close()
            except BaseException:
                accepted.close()
                raise

    async def _shows_secret(self, accepted: socket.socket) -> bool:
        loop = asyncio.get_running_loop()
        accepted.setblocking(False)
        shown = b""
        try:
            async with asyncio.timeout(SECRET_TIMEOUT_S):
                while len(shown) < SECRET_BYTES and (part := await loop.sock_recv(accepted, SECRET_BYTES - len(shown))):
                    shown += part
        except (OSError, TimeoutError):
            return False
        return hmac.compare_digest(shown, self.secret)

    def close(self) -> None:
        """See `Channel.close`."""
        self._listener.close()


def connect(argument: str) -> socket.socket:
    """The process's side: the connection that ``argument`` names; on TCP it reads the secret from standard input."""
    kind, _, number = argument.partition(":")
    if kind == "fd":
        inherited = socket.socket(fileno=int(number))
        inherited.set_inheritable(False)
        return inherited
    secret = b""
    while len(secret) < SECRET_BYTES and (part := os.read(0, SECRET_BYTES - len(secret))):
        secret += part
    connected = socket.create_connection(("127.0.0.1", int(number)))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.sendall(secret)
    return connected
