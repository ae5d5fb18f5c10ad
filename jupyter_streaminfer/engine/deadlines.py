"""A stream's deadlines: until it starts, until its first token, between tokens, and until its end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Literal

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.protocol import Deadlines
from jupyter_streaminfer.protocol.limits import MAX_DEADLINE_MS

DeadlineName = Literal["queue", "first_token", "inactivity", "total"]


class StreamDeadlines:
    """Watches one stream from its acceptance on, which is now, on the running loop; `Deadlines` says what counts.

    One timer stands at the earliest deadline of when it was set. What moves a deadline away leaves the timer where it
    is: it finds nothing due and moves itself. So a token costs a look at the clock.
    """

    def __init__(
        self, request: Deadlines | None, config: EngineConfig, on_deadline: Callable[[DeadlineName], None]
    ) -> None:
        """``on_deadline`` is called with each deadline that passes, once; it ends the stream, or has it retried."""
        asked = request or Deadlines()
        self._loop = asyncio.get_running_loop()
        self._on_deadline = on_deadline
        now = self._loop.time()
        self._first_token_s = _seconds(asked.first_token_ms, config.first_token_deadline_s)
        self._inactivity_s = _seconds(asked.inactivity_ms, config.inactivity_deadline_s)
        self._queue_at = now + _seconds(asked.queue_ms, config.queue_deadline_s)
        self._first_token_at = now + self._first_token_s
        self._total_at = now + _seconds(asked.total_ms, config.total_deadline_s)
        self._token_at: float | None = None
        """When the last token came."""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._arm()

    def started(self) -> None:
        """Its first computation began."""
        self._queue_at = math.inf

    def token(self) -> None:
        """A token came, or several at once."""
        first = self._token_at is None
        self._token_at = self._loop.time()
        if first:
            self._queue_at = self._first_token_at = math.inf
            self._arm()  # the time until the next one may be the shortest

    def restart_first_token(self) -> None:
        """It is tried once more: its first token has as long again. Without effect once there is one."""
        if self._token_at is None:
            self._first_token_at = self._loop.time() + self._first_token_s
            self._arm()

    def close(self) -> None:
        """It ended: no deadline passes any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> tuple[float, DeadlineName]:
        """The deadline that passes next; of equals the one that says most."""
        at = self._queue_at
        name: DeadlineName = "queue"
        if self._first_token_at < at:
            at, name = self._first_token_at, "first_token"
        if self._token_at is not None and self._token_at + self._inactivity_s < at:
            at, name = self._token_at + self._inactivity_s, "inactivity"
        if self._total_at < at:
            at, name = self._total_at, "total"
        return at, name

    def _arm(self) -> None:
        at, _ = self._next()
        if self._closed or at == math.inf or (self._timer is not None and self._timer.when() <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        at, name = self._next()
        if at <= self._loop.time():
            self._pass(name)
            self._arm()
            self._on_deadline(name)
        else:
            self._arm()

    def _pass(self, name: DeadlineName) -> None:
        if name == "queue":
            self._queue_at = math.inf
        elif name == "first_token":
            self._first_token_at = math.inf
        elif name == "inactivity":
            self._inactivity_s = math.inf
        else:
            self._total_at = math.inf


def _seconds(asked_ms: float | None, default_s: float) -> float:
    return default_s if asked_ms is None else min(asked_ms, MAX_DEADLINE_MS) / 1000
