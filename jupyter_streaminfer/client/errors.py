"""What can go wrong between a client and its server; all else is the `StreaminferError` that the engine raised."""

from __future__ import annotations

from jupyter_streaminfer.protocol import StreaminferError


class ConnectionLostError(StreaminferError):
    """The server did not answer, or went away: the same request may succeed later."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__("internal", message, retryable=True)
        self.sent = sent
        """Whether the request had gone out: the server may have taken it, and only its answer is missing."""


class NotAuthorizedError(StreaminferError):
    """The server answered that these credentials do not open it."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_request", message, field="token")


class NoServerError(StreaminferError):
    """What answered at the address is not a Jupyter server with this extension."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_request", message, field="url")
