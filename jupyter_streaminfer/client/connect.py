"""Finding the engine: the server that this process belongs to, else one in the process itself."""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Iterator
from functools import partial

from jupyter_streaminfer.client import discovery
from jupyter_streaminfer.client.address import HOW_TO_AUTHENTICATE
from jupyter_streaminfer.client.client import Client
from jupyter_streaminfer.client.discovery import Server
from jupyter_streaminfer.client.embedded import EmbeddedEngine, EmbeddedTransport
from jupyter_streaminfer.client.errors import ConnectionLostError, NoServerError, NotAuthorizedError
from jupyter_streaminfer.client.loop import IOLoop
from jupyter_streaminfer.client.readings import RECONNECT_S
from jupyter_streaminfer.client.retries import Retries
from jupyter_streaminfer.client.server_transport import ServerTransport
from jupyter_streaminfer.protocol import StreaminferError


@dataclasses.dataclass(frozen=True)
class Patience:
    """What a client bears before it says that something went wrong."""

    retries: int = 3
    """Further attempts at what was refused for the moment."""
    reconnect_s: float = RECONNECT_S
    """How long a lost connection is tried to be had back while something is read."""


def connect(
    url: str | None = None, token: str | None = None, *, retries: int = 3, reconnect_s: float = RECONNECT_S
) -> Client:
    """A client of the engine that is nearest.

    The first of: ``url`` (a Jupyter server's base URL, with ``token``); the server that started this kernel or
    terminal, which said so in its environment; another running server of this user; the JupyterHub server that
    this kernel belongs to; an engine in this process. Only servers with this extension count.

    ``retries``: how often what was refused for the moment is asked for again; 0: not at all. ``reconnect_s``: how
    long a lost connection is tried to be had back while a stream is read, which then goes on where it was.

    Raises `StreaminferError` where a server was named and does not answer, or asks for credentials that are not
    to be found here.
    """
    patience = Patience(retries, reconnect_s)
    return connect_to_server(url, token, patience) or embedded(patience)


def embedded(patience: Patience = Patience()) -> Client:
    """A client of the engine in this process."""
    retries = Retries(patience.retries)
    shared = EmbeddedEngine.acquire()
    transport = EmbeddedTransport(shared.engine)

    def release() -> None:
        shared.io.spawn(transport.close())
        shared.release()

    return Client(transport, shared.io, release, retries)


def connect_to_server(
    url: str | None = None, token: str | None = None, patience: Patience = Patience()
) -> Client | None:
    """As `connect`, but None where it would take an engine in this process."""
    runtime = discovery.from_runtime_files(os.environ)
    if url is not None:
        return _open(discovery.from_arguments(url, token, os.environ, runtime), patience)
    for server in discovery.from_environment(os.environ):
        return _open(_with_token(server, token), patience)
    return _first(runtime, token, patience)


def _first(runtime: list[Server], token: str | None, patience: Patience) -> Client | None:
    parent = os.environ.get("JPY_PARENT_PID", "")
    refused: Server | None = None
    for server in _candidates(runtime):
        try:
            return _open(_with_token(server, token), patience)
        except NotAuthorizedError:
            # A kernel that another program started has nothing to do with a closed server that just runs here too.
            if server.pid is None or parent in ("", str(server.pid)):
                refused = refused or server
        except (ConnectionLostError, NoServerError):
            continue
    if refused is not None:
        raise NotAuthorizedError(
            f"The Jupyter server at {refused.url} has jupyter_streaminfer, but what opens it is not to be found here. "
            f"{HOW_TO_AUTHENTICATE}"
        )
    return None


def _candidates(runtime: list[Server]) -> Iterator[Server]:
    yield from runtime
    yield from discovery.from_hub(os.environ, runtime)


def _with_token(server: Server, token: str | None) -> Server:
    if server.authorization is None:
        token = token or os.environ.get("JUPYTER_TOKEN")
    return dataclasses.replace(server, authorization=f"token {token}") if token else server


def _open(server: Server, patience: Patience) -> Client:
    """A client of that server, which has answered; raises `StreaminferError` where it does not."""
    retries = Retries(patience.retries)
    io = IOLoop()
    transport = ServerTransport(server, patience.reconnect_s)
    release = partial(_disconnect, transport, io)
    client = Client(transport, io, release, retries)
    weakref.finalize(client, release)
    try:
        client.health()
    except StreaminferError as error:
        client.close()
        raise error from None
    return client


def _disconnect(transport: ServerTransport, io: IOLoop) -> None:
    io.spawn(transport.close())
    io.stop()
