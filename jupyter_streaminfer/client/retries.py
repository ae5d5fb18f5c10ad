"""Trying again what was refused for the moment: how often, how long, and after what wait."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from jupyter_streaminfer.client.errors import ConnectionLostError
from jupyter_streaminfer.protocol import StreaminferError

FIRST_S = 0.25
MAX_S = 15.0
"""No wait that we choose ourselves is longer."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


def backoff_s(failures: int, factor: float = 2.0) -> float:
    """How long to wait after so many failures in a row, in seconds; drawn, so that many clients do not come at once."""
    longest = min(MAX_S, FIRST_S * factor ** min(failures, 64))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


@dataclass(frozen=True)
class Retries:
    """How much patience one call has with refusals that are ``retryable``."""

    limit: int = 3
    """Attempts after the first; 0: none."""
    total_s: float = 30.0
    """No attempt begins later than this, in seconds from the call."""

    def __post_init__(self) -> None:
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 0:
            raise StreaminferError(
                "invalid_request", f"retries: a number from 0 on is needed, found {self.limit!r}.", field="retries"
            )

    async def run(
        self, call: Callable[[], Awaitable[T]], *, pure: bool = False, on_retry: Callable[[], object] | None = None
    ) -> T:
        """The call's answer, or its last refusal.

        ``pure``: asking twice does no harm. Otherwise a request whose answer was lost with the connection is not
        sent again. ``on_retry`` is told before each further attempt.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + self.total_s
        failures = 0
        while True:
            try:
                return await call()
            except StreaminferError as error:
                wait_s = _wait_s(error, failures)
                lost = isinstance(error, ConnectionLostError) and error.sent and not pure
                if lost or not error.info.retryable or failures >= self.limit or clock() + wait_s > end:
                    raise
                failures += 1
                _log.info("Retry %d of %d in %.2f s: %s", failures, self.limit, wait_s, error)
            await asyncio.sleep(wait_s)
            if on_retry is not None:
                on_retry()


def _wait_s(error: StreaminferError, failures: int) -> float:
    """As long as the server asks for and a little more, else longer each time."""
    if (after_ms := error.info.retry_after_ms) is not None:
        return after_ms / 1000 + min(1.0, 0.05 + after_ms / 10_000) * random.random()  # noqa: S311 (no secret)
    return backoff_s(failures, factor=4.0)
