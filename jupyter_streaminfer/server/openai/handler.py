"""What this door's handlers have: its shape of errors, and one way to answer, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

from tornado.iostream import StreamClosedError

from jupyter_streaminfer.protocol import (
    Cancelled,
    Completed,
    Delta,
    Event,
    Failed,
    Generate,
    Incomplete,
    StreaminferError,
)
from jupyter_streaminfer.server.base import RestHandler, refusal
from jupyter_streaminfer.server.heartbeat import keep_alive
from jupyter_streaminfer.server.openai.choices import Choices
from jupyter_streaminfer.server.openai.errors import error_body, status_of
from jupyter_streaminfer.server.openai.form import Form, event
from jupyter_streaminfer.server.openai.requests import Body
from jupyter_streaminfer.server.openai.translate import renamed
from jupyter_streaminfer.server.sse import EventStream, socket_of

RETRY_AFTER_S = 1
"""What a client is told that may come again, where nothing better is known."""


class OpenAIHandler(RestHandler):
    """A handler whose errors have OpenAI's shape."""

    def status_of(self, error: StreaminferError) -> int:
        """The HTTP status of a refusal; 503 for all while there is no engine."""
        return status_of(error.info) if self.app.engine is not None else 503

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """The error, and whether and when to try again."""
        info = refusal(status_code, kwargs.get("exc_info", (None, None, None))[1])
        if info.retryable:
            wait_ms = info.retry_after_ms
            self.set_header("Retry-After", str(RETRY_AFTER_S if wait_ms is None else math.ceil(wait_ms / 1000)))
            if wait_ms is not None:
                # What OpenAI's own client waits for, to the millisecond.
                self.set_header("Retry-After-Ms", str(math.ceil(wait_ms)))
        # What OpenAI's own client goes by, before the status.
        self.set_header("X-Should-Retry", "true" if info.retryable else "false")
        self.reply(error_body(info, status_code), status_code)


class GenerationHandler(OpenAIHandler):
    """One request's choices, from the engine to the client. Whatever ends the answer ends them."""

    _choices: Choices | None = None

    def on_connection_close(self) -> None:
        """End what nobody waits for any longer."""
        super().on_connection_close()
        if self._choices is not None:
            self._choices.cancel("abandoned")

    async def answer(self, body: Body, requests: list[Generate], kind: type[Form]) -> None:
        """Generate and reply. Raises `StreaminferError` while the status can still say so."""
        self._choices = Choices(self.engine, requests, self.client, self.app.writes)
        try:
            async with self._choices as choices:
                options = body.stream_options
                with_usage = options is not None and bool(options.include_usage)
                form = kind(choices.streams, body.n or 1, with_usage)
                await (self._stream(choices, form) if body.stream else self._whole(choices, form))
        except StreaminferError as error:
            raise renamed(error, body) from None
        except StreamClosedError:
            # The client left; so have the choices by now.
            return

    async def _whole(self, choices: Choices, form: Form) -> None:
        # Nothing is written meanwhile, so the system has to watch the connection.
        keep_alive(socket_of(self), self.app.heartbeat_s)
        await choices.read(_look)
        self.reply(form.whole())

    async def _stream(self, choices: Choices, form: Form) -> None:
        """Chunks as they come. What comes while the socket takes the last ones is merged."""
        chunks: list[bytes] = []
        async with EventStream(self) as events:

            def write(taken: list[tuple[int, Event]]) -> asyncio.Future[None] | None:
                for index, each in taken:
                    chunks.append(_events(form, index, each))
                ready = b"".join(chunks)
                chunks.clear()
                return events.push(ready)

            try:
                await choices.read(write)
            except StreaminferError as error:
                chunks.append(event(error_body(error.info, status_of(error.info))))
            else:
                chunks.append(form.end())
            await events.send(b"".join(chunks))
        await self.finish()


def _look(taken: list[tuple[int, Event]]) -> None:
    """Raise `StreaminferError` where there will be no whole answer."""
    for _, each in taken:
        _raise_for(each)


def _events(form: Form, index: int, event: Event) -> bytes:
    if isinstance(event, Delta):
        return form.delta(index, event)
    _raise_for(event)
    return form.finish(index, cast(Completed, event))


def _raise_for(event: Event) -> None:
    """Raise `StreaminferError` for the end of a choice that is no answer."""
    if isinstance(event, Failed):
        raise StreaminferError.of(event.error)
    if isinstance(event, Cancelled):
        raise StreaminferError("cancelled", f"The generation was cancelled ({event.reason}).")
    if isinstance(event, Incomplete):
        raise StreaminferError(
            "deadline",
            f"The generation reached its total deadline. What it brought is at streaminfer/api/streams/{event.stream}; "
            "ask for fewer tokens, or have c.StreaminferApp.total_deadline_s raised.",
        )
