"""``streaminfer/v1/chat/completions``."""

from __future__ import annotations

from typing import Any

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.engine import Stream
from jupyter_streaminfer.protocol import Completed, Delta
from jupyter_streaminfer.server.openai.form import Form, logprobs_of
from jupyter_streaminfer.server.openai.handler import GenerationHandler
from jupyter_streaminfer.server.openai.logprobs import chat_logprobs
from jupyter_streaminfer.server.openai.requests import chat_body
from jupyter_streaminfer.server.openai.translate import chat_requests

_ROLE = b'{"index":%d,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}'
_DELTA = b'{"index":%d,"delta":{"content":%b},"logprobs":%b,"finish_reason":null}'
_FINISH = b'{"index":%d,"delta":{},"logprobs":null,"finish_reason":"%b"}'

_encode = msgspec.json.Encoder().encode


class ChatForm(Form):
    """``chat.completion``, and its chunks: the first of each choice brings the role, and comes with the first token."""

    prefix = "chatcmpl-"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, streams: list[Stream], n: int, with_usage: bool) -> None:
        super().__init__(streams, n, with_usage)
        self._silent = set(range(len(streams)))
        """Choices of which nothing was said yet."""

    def delta(self, index: int, delta: Delta) -> bytes:
        """See `Form.delta`."""
        logprobs = b"null" if delta.logprobs is None else _encode(chat_logprobs(delta.logprobs))
        return self._role(index) + self._chunk(_DELTA % (index, _encode(delta.text), logprobs))

    def finish(self, index: int, completed: Completed) -> bytes:
        """See `Form.finish`."""
        return self._role(index) + self._chunk(_FINISH % (index, completed.finish_reason.encode()))

    def _role(self, index: int) -> bytes:
        if index not in self._silent:
            return b""
        self._silent.discard(index)
        return self._chunk(_ROLE % index)

    def _choice(self, stream: Stream) -> dict[str, Any]:
        logprobs = logprobs_of(stream)
        return {
            "message": {"role": "assistant", "content": stream.text, "refusal": None},
            "logprobs": None if logprobs is None else chat_logprobs(logprobs),
        }


class ChatHandler(GenerationHandler):
    """A turn of a conversation, in the model's chat template."""

    @web.authenticated
    @authorized("execute")  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """``chat.completion``, or its chunks as server-sent events."""
        body = self.body(chat_body)
        await self.answer(body, chat_requests(body), ChatForm)


default_handlers = [(r"/streaminfer/v1/chat/completions", ChatHandler)]
