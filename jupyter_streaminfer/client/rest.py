"""The REST calls of a server."""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

import msgspec
from tornado.httpclient import HTTPClientError
from tornado.httputil import HTTPHeaders
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from jupyter_streaminfer.client.address import Address
from jupyter_streaminfer.client.errors import ConnectionLostError, NoServerError
from jupyter_streaminfer.protocol import StreaminferError

T = TypeVar("T")

CALLS = 64
"""Calls under way at once; a load may take one for minutes."""


class Rest:
    """Plain HTTP requests to ``streaminfer/api/``. Used on the I/O loop only."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._http: SimpleAsyncHTTPClient | None = None

    async def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        body: bytes | None = None,
        timeout_s: float = 60.0,
    ) -> T:
        """The answer's body as ``answer``, whatever the status.

        Raises `StreaminferError`: the server's own, or what kept it from answering.
        """
        request = self._address.request(f"api/{path}", timeout_s=timeout_s, method=method, body=body)
        try:
            response = await self._client().fetch(request)
        except HTTPClientError as error:
            # Health says with a 503 that it is degraded: an answer all the same.
            if error.code == 503 and error.response is not None:
                with suppress(msgspec.DecodeError):
                    return msgspec.json.decode(error.response.body, type=answer)
            raise self._refusal(error) from None
        except OSError as error:
            raise self._refusal(error) from None
        try:
            return msgspec.json.decode(response.body or b"null", type=answer)
        except msgspec.DecodeError:
            raise NoServerError(
                f"The server at {self._address.url} gave an answer that this client does not know. Install the same "
                "version of jupyter_streaminfer on both sides."
            ) from None

    async def read(self, path: str, first: int, last: int, *, timeout_s: float = 60.0) -> bytes:
        """The bytes of a file from ``first`` to ``last``, both included; fewer where it ends."""
        request = self._address.request(f"api/{path}", timeout_s=timeout_s)
        request.headers = HTTPHeaders({**request.headers, "Range": f"bytes={first}-{last}"})
        try:
            return (await self._client().fetch(request)).body
        except (HTTPClientError, OSError) as error:
            raise self._refusal(error) from None

    def _refusal(self, error: Exception) -> StreaminferError:
        refusal = self._address.refusal(error)
        if isinstance(refusal, ConnectionLostError):
            # Nothing tells at which point it was lost.
            refusal.sent = True
        return refusal

    def _client(self) -> SimpleAsyncHTTPClient:
        if self._http is None:
            # Its loop is the one that is current where it is made. force_instance: closed by us alone.
            self._http = SimpleAsyncHTTPClient(
                force_instance=True, resolver=self._address.resolver(), max_clients=CALLS
            )
        return self._http

    def close(self) -> None:
        """Give up the calls under way."""
        if self._http is not None:
            self._http.close()
            self._http = None
