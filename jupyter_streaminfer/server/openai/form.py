"""What an answer looks like, whole and in chunks: what both kinds of completions share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import msgspec

from jupyter_streaminfer.engine import Stream
from jupyter_streaminfer.protocol import Completed, Delta, Generate, TokenLogprobs
from jupyter_streaminfer.server.openai.usage import usage

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


def event(message: object) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % _encode(message)


class Form(ABC):
    """The answer of some streams, ``n`` of each prompt. All of a chunk that never changes is encoded once."""

    prefix: ClassVar[str]
    """What its id begins with; the first stream's own follows, under which it can be read natively."""
    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, streams: list[Stream], n: int, with_usage: bool) -> None:
        """``with_usage``: the last chunk is to say how many tokens it were."""
        self._streams = streams
        self._n = n
        self._with_usage = with_usage
        self._head = {
            "id": self.prefix + streams[0].id,
            "created": int(time.time()),
            "model": streams[0].request.model,
        }
        shared: dict[str, Any] = {**self._head, "object": self.chunk_object}
        if with_usage:
            shared["usage"] = None
        self._opening = b"data: %b," % _encode(shared)[:-1]

    # In chunks.

    @abstractmethod
    def delta(self, index: int, delta: Delta) -> bytes:
        """The events for new tokens of a choice."""

    @abstractmethod
    def finish(self, index: int, completed: Completed) -> bytes:
        """The events for the end of a choice, which follows its tokens."""

    def end(self) -> bytes:
        """The events after the last choice's end."""
        if not self._with_usage:
            return DONE
        message = {**self._head, "object": self.chunk_object, "choices": [], "usage": usage(self._streams, self._n)}
        return event(message) + DONE

    def _chunk(self, choice: bytes) -> bytes:
        return b'%b"choices":[%b]}\n\n' % (self._opening, choice)

    # Whole.

    def whole(self) -> dict[str, Any]:
        """The answer of streams that are completed."""
        choices = [
            {"index": index, "finish_reason": stream.terminal.finish_reason, **self._choice(stream)}
            for index, stream in enumerate(self._streams)
            if isinstance(stream.terminal, Completed)
        ]
        return {**self._head, "object": self.whole_object, "choices": choices, "usage": usage(self._streams, self._n)}

    @abstractmethod
    def _choice(self, stream: Stream) -> dict[str, Any]:
        """What a completed choice brought."""


def logprobs_of(stream: Stream) -> list[TokenLogprobs] | None:
    """Those of every token of a stream; None where they were not asked for."""
    if not isinstance(stream.request, Generate) or stream.request.logprobs is None:
        return None
    return (stream.delta(0, stream.deltas - 1).logprobs or []) if stream.deltas else []
