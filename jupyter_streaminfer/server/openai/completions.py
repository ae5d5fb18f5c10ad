"""``streaminfer/v1/completions``."""

from __future__ import annotations

from typing import Any

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.engine import Stream
from jupyter_streaminfer.protocol import Completed, Delta
from jupyter_streaminfer.server.openai.form import Form, logprobs_of
from jupyter_streaminfer.server.openai.handler import GenerationHandler
from jupyter_streaminfer.server.openai.logprobs import completion_logprobs
from jupyter_streaminfer.server.openai.requests import completion_body
from jupyter_streaminfer.server.openai.translate import completion_requests

_DELTA = b'{"index":%d,"text":%b,"logprobs":%b,"finish_reason":null}'
_FINISH = b'{"index":%d,"text":"","logprobs":null,"finish_reason":"%b"}'

_encode = msgspec.json.Encoder().encode


class CompletionForm(Form):
    """``text_completion``; its chunks have the same type."""

    prefix = "cmpl-"
    whole_object = "text_completion"
    chunk_object = "text_completion"

    def __init__(self, streams: list[Stream], n: int, with_usage: bool) -> None:
        super().__init__(streams, n, with_usage)
        self._offsets = [0] * len(streams)
        """For each choice, how many characters its tokens have so far; counted for log-probabilities alone."""

    def delta(self, index: int, delta: Delta) -> bytes:
        """See `Form.delta`."""
        logprobs = b"null"
        if delta.logprobs is not None:
            logprobs = _encode(completion_logprobs(delta.logprobs, self._offsets[index]))
            self._offsets[index] += sum(len(token.text) for token in delta.logprobs)
        return self._chunk(_DELTA % (index, _encode(delta.text), logprobs))

    def finish(self, index: int, completed: Completed) -> bytes:
        """See `Form.finish`."""
        return self._chunk(_FINISH % (index, completed.finish_reason.encode()))

    def _choice(self, stream: Stream) -> dict[str, Any]:
        logprobs = logprobs_of(stream)
        return {"text": stream.text, "logprobs": None if logprobs is None else completion_logprobs(logprobs, 0)}


class CompletionsHandler(GenerationHandler):
    """Prompts as they are: texts or token ids."""

    @web.authenticated
    @authorized("execute")  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """``text_completion``, whole or in chunks as server-sent events."""
        body = self.body(completion_body)
        await self.answer(body, completion_requests(body), CompletionForm)


default_handlers = [(r"/streaminfer/v1/completions", CompletionsHandler)]
