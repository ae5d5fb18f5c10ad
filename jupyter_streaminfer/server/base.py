"""What every handler of ours has: the kernels' way in, the engine, and one shape of errors."""

from __future__ import annotations

import math
import re
from functools import cached_property
from http.client import responses
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from jupyter_server.auth import IdentityProvider
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado.web import HTTPError, stream_request_body

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import MAX_MESSAGE_BYTES, ErrorInfo, StreaminferError
from jupyter_streaminfer.server.decode import decode
from jupyter_streaminfer.server.secret import SecretIdentityProvider

if TYPE_CHECKING:
    from jupyter_streaminfer.server.app import StreaminferApp

T = TypeVar("T")

AUTH_RESOURCE = "streaminfer"

STATUS = {
    "invalid_request": 400,
    "model_not_found": 404,
    "stream_not_found": 404,
    "upload_not_found": 404,
    "model_not_ready": 503,
    "rate_limited": 429,
    "overloaded": 503,
    "too_large": 413,
    "expired": 503,
    "deadline": 504,
    "cancelled": 409,
    "worker_lost": 503,
    "internal": 500,
}
"""The HTTP status of each error code."""

_HTTP_ERRORS = {
    403: "This request is not authenticated or not authorized. Send the server's token, or log in.",
    404: "There is nothing at this address, or the request came from another origin.",
    405: "This address does not support that method.",
}


CLIENT_HEADER = "X-Streaminfer-Client"
_CLIENT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ANONYMOUS = "Anonymous "
"""What Jupyter names a user who has the server's token alone; it makes up another one with every request."""

_by_secret = SecretIdentityProvider()


class StreaminferMixin(JupyterHandler):
    """For REST and WebSocket handlers alike."""

    auth_resource = AUTH_RESOURCE

    @property
    def app(self) -> StreaminferApp:
        """The extension."""
        return cast("StreaminferApp", self.settings["jupyter_streaminfer"])

    @property
    def engine(self) -> Engine:
        """The engine; raises `StreaminferError` ``overloaded`` before the extension is started and after it stopped."""
        if self.app.engine is None:
            raise StreaminferError("overloaded", "The server is starting or stopping. Try again.", retryable=True)
        return self.app.engine

    @cached_property
    def identity_provider(self) -> IdentityProvider:
        """The server's own, except for a request that carries the kernels' secret."""
        if self.app.secret.opens(self.request.headers.get("Authorization", "")):
            return _by_secret
        return super().identity_provider

    @property
    def client(self) -> str:
        """Whose request this is, for limits and for fairness: the user, and which of the user's programs.

        A program names itself in ``X-Streaminfer-Client`` or, where it can set no header, the query parameter
        ``client``; otherwise its address stands for it. Raises `StreaminferError`.
        """
        user = self.current_user
        name = "anonymous" if user is None or user.name.startswith(_ANONYMOUS) else user.username
        given = self.request.headers.get(CLIENT_HEADER)
        if given is None:
            given = self.get_query_argument("client", None, strip=False)
        if given is None:
            return f"{name}:{self.request.remote_ip}"
        if not _CLIENT.fullmatch(given):
            raise StreaminferError(
                "invalid_request",
                f"{CLIENT_HEADER} or ?client= must be 1 to 64 letters, digits, '.', '_' or '-'. Mend it, or leave it "
                "out.",
                field="client",
            )
        return f"{name}:{given}"

    def status_of(self, error: StreaminferError) -> int:
        """The HTTP status of a refusal."""
        return STATUS[error.code]

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer an exception: a refusal of the engine's has a status of its own."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, StreaminferError):
            status_code = self.status_of(error)
        super().send_error(status_code, **kwargs)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Faults alone, as a refusal is an answer; and by the path, as the query may hold a token.

        Tornado's own would log the whole address.
        """
        if isinstance(value, StreaminferError):
            return
        request = f"{self.request.method} {self.request.path}"
        if isinstance(value, HTTPError):
            if value.log_message:
                self.log.warning("%d %s: %s", value.status_code, request, value.log_message)
        elif typ is not None and value is not None:
            self.log.error("%s failed.", request, exc_info=(typ, value, tb))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """The error as JSON: ``code``, ``message``, ``retryable``, and ``field`` and ``retry_after_ms`` where known."""
        info = refusal(status_code, kwargs.get("exc_info", (None, None, None))[1])
        if info.retry_after_ms is not None:
            self.set_header("Retry-After", str(math.ceil(info.retry_after_ms / 1000)))
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode({**msgspec.to_builtins(info), "retryable": info.retryable}))


def refusal(status_code: int, error: BaseException | None) -> ErrorInfo:
    """What a client is told of an exception that ended its request with that status."""
    if isinstance(error, StreaminferError):
        return error.info
    if isinstance(error, HTTPError):
        # Jupyter's own refusals; the protocol has no code of its own for them, the status tells them apart.
        return ErrorInfo("invalid_request", _HTTP_ERRORS.get(status_code) or responses.get(status_code, "Refused."))
    return ErrorInfo("internal", "The server failed on this request; its log says more.")


@stream_request_body
class RestHandler(StreaminferMixin, APIHandler):
    """A REST handler. Its body is read only once the request is known to be allowed, and never beyond the limit."""

    max_body_bytes = MAX_MESSAGE_BYTES

    def initialize(self) -> None:
        """Begin with an empty body."""
        self._body = bytearray()

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse strangers, and a body that says it is too large, before any of it is kept."""
        await super().prepare()
        if self.current_user is None and self.request.method != "OPTIONS":
            raise HTTPError(403)
        length = self.request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            raise self.too_large()

    def data_received(self, chunk: bytes) -> None:
        """Keep the body up to the limit; a chunked one does not say its length before."""
        if len(self._body) <= self.max_body_bytes:
            self._body += chunk

    def body(self, decoder: msgspec.json.Decoder[T]) -> T:
        """The request's body as a message; raises `StreaminferError`."""
        if len(self._body) > self.max_body_bytes:
            raise self.too_large()
        return decode(bytes(self._body), decoder)

    def reply(self, message: object, status: int = 200) -> None:
        """Answer with a message as JSON."""
        self.set_status(status)
        self.finish(msgspec.json.encode(message))

    def too_large(self) -> StreaminferError:
        """The refusal of a body that is beyond the limit."""
        return StreaminferError(
            "too_large", f"A request's body may have {self.max_body_bytes} bytes. Send it in smaller parts."
        )
