"""What the extension tells of through Jupyter's own event system: each stream's end, and each alert."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from pathlib import Path
from typing import Any

from jupyter_events import EventLogger

from jupyter_streaminfer.protocol import Alert, StreamStatus

_BASE = "https://events.jupyter.org/jupyter_streaminfer"
STREAM_END = f"{_BASE}/stream_end/v1"
ALERT = f"{_BASE}/alert/v1"
SCHEMAS = sorted((Path(__file__).parent / "event_schemas").glob("*.yaml"))

TURN = 4
"""Events told in one turn of the loop: each is checked against its schema, which takes a part of a millisecond."""
MAX_WAITING = 2_000
"""Events that wait to be told; beyond it the oldest are lost."""

_log = logging.getLogger(__name__)


class JupyterEvents:
    """Tells who listens to the server's events: a few each turn of the loop, so that many at once hold up nobody."""

    def __init__(self, logger: EventLogger) -> None:
        self._logger = logger
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MAX_WAITING)
        self._turn: asyncio.Handle | None = None
        for schema in SCHEMAS:
            logger.register_event_schema(schema)

    def stream_ended(self, status: StreamStatus) -> None:
        """Tell of a stream's end."""
        self._add(
            STREAM_END,
            {
                "stream": status.stream,
                "model": status.model,
                "version": status.version,
                "arm": status.arm,
                "state": status.state,
                "finish_reason": status.finish_reason,
                "error_code": None if status.error is None else status.error.code,
                "prompt_tokens": status.prompt_tokens,
                "cached_tokens": status.cached_tokens,
                "tokens": status.tokens,
                "queue_ms": status.queue_ms,
                "ttft_ms": status.ttft_ms,
                "duration_ms": status.duration_ms,
                "itl_mean_ms": status.itl_mean_ms,
                "itl_max_ms": status.itl_max_ms,
                "odd": list(status.odd),
            },
        )

    def alert_changed(self, alert: Alert) -> None:
        """Tell of an alert that began or ended."""
        rule = alert.rule
        self._add(
            ALERT,
            {
                "name": alert.name,
                "metric": rule.metric,
                "model": rule.model,
                "above": rule.above,
                "for_s": rule.for_s,
                "configured": alert.configured,
                "firing": alert.firing,
                "value": alert.value,
                "message": alert.message,
            },
        )

    def flush(self) -> None:
        """Tell of everything that waits, now."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        while self._waiting:
            self._emit(*self._waiting.popleft())

    def _add(self, schema: str, data: dict[str, Any]) -> None:
        self._waiting.append((schema, data))
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._turn = None
        for _ in range(min(TURN, len(self._waiting))):
            self._emit(*self._waiting.popleft())
        if self._waiting:
            self._turn = asyncio.get_running_loop().call_soon(self._tell)

    def _emit(self, schema: str, data: dict[str, Any]) -> None:
        try:
            self._logger.emit(schema_id=schema, data=data)
        except Exception:
            _log.exception("An event could not be told")
