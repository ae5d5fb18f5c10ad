"""How Tornado is asked for an address of ours: headers, unix sockets, and what its errors mean."""

from __future__ import annotations

import secrets
import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.netutil import Resolver

from jupyter_streaminfer.client.discovery import Server, unix_socket
from jupyter_streaminfer.client.errors import ConnectionLostError, NoServerError, NotAuthorizedError
from jupyter_streaminfer.protocol import ErrorInfo, StreaminferError

CONNECT_S = 10.0

HOW_TO_AUTHENTICATE = (
    "Give the server's token: connect(url, token), --token or the variable JUPYTER_TOKEN. A server that asks for a "
    "password has no token; there, a kernel or terminal started after the extension was enabled needs none, so "
    "restart this one, or give the server a token as well (IdentityProvider.token)."
)


class Address:
    """One server's addresses under ``streaminfer/``, for one client.

    Each request says which client it is from, by a name drawn at random: the server is fair between clients.
    """

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self._client = secrets.token_urlsafe(12)
        self._headers = {"X-Streaminfer-Client": self._client}
        if server.authorization:
            self._headers["Authorization"] = server.authorization
        self._socket = unix_socket(server.url)

    def request(self, path: str, *, websocket: bool = False, timeout_s: float = 60.0, **options: Any) -> HTTPRequest:
        """A request for ``streaminfer/<path>``; ``timeout_s`` 0 waits for ever. Never follows a redirect."""
        parts = urlsplit(self.url)
        scheme = {"http": "ws", "https": "wss"} if websocket else {"http": "http", "https": "https"}
        host = "localhost" if self._socket else parts.netloc
        query = f"?client={self._client}" if websocket else ""
        return HTTPRequest(
            f"{scheme[parts.scheme.partition('+')[0]]}://{host}{parts.path}streaminfer/{path}{query}",
            headers=self._headers,
            connect_timeout=CONNECT_S,
            request_timeout=timeout_s,
            follow_redirects=False,
            **options,
        )

    def resolver(self) -> Resolver | None:
        """What finds the unix socket; None where the system's own resolver is right."""
        return UnixSocketResolver(path=self._socket) if self._socket else None

    def refusal(self, error: Exception) -> StreaminferError:
        """What a failed request means to whoever made it."""
        if isinstance(error, HTTPClientError) and error.code != 599:
            info = _error_info(error.response.body if error.response else b"")
            if error.code in (401, 403) and info is not None:
                return NotAuthorizedError(
                    f"The server at {self.url} did not accept these credentials. {HOW_TO_AUTHENTICATE}"
                )
            if info is not None:
                return StreaminferError.of(info)
            return NoServerError(
                f"What answers at {self.url} (HTTP {error.code}) is no Jupyter server with jupyter_streaminfer, or "
                "hides it from strangers. Check the address and the token, and that `jupyter server extension list` "
                "there shows jupyter_streaminfer enabled."
            )
        return ConnectionLostError(
            f"The server at {self.url} does not answer ({error}). Check that it runs, then try again."
        )


class UnixSocketResolver(Resolver):
    """Finds one unix socket under every name."""

    def initialize(self, path: str) -> None:
        """``path``: of the socket."""
        self._path = path

    async def resolve(self, *args: Any, **kwargs: Any) -> list[tuple[int, Any]]:
        """The socket, whatever the host."""
        return [(socket.AF_UNIX, self._path)]


def _error_info(body: bytes) -> ErrorInfo | None:
    """The error in a response of ours; None where the response is somebody else's."""
    try:
        return msgspec.json.decode(body, type=ErrorInfo)
    except msgspec.DecodeError:
        return None
