"""What a sequence's reader is told: its tokens with their text, one by one or in chunks."""

from __future__ import annotations

from collections.abc import Callable

from jupyter_streaminfer.inference.emitter import Emitter
from jupyter_streaminfer.inference.sampler import Draw
from jupyter_streaminfer.protocol import TokenLogprobs, Tokens, TopLogprob

LEAST = -9999.0
"""Stands for a log-probability of minus infinity, which JSON does not know; OpenAI's answers have it too."""


class Answer:
    """Gathers the tokens of one job into `Tokens` events of ``chunk_tokens`` each; the last may be shorter."""

    def __init__(self, job: str, emitter: Emitter, chunk_tokens: int, token_text: Callable[[int], str]) -> None:
        """``token_text``: a single token's text, for log-probabilities."""
        self.job = job
        self._emitter = emitter
        self._chunk_tokens = chunk_tokens
        self._token_text = token_text
        self._token_ids: list[int] = []
        self._text = ""
        self._logprobs: list[TokenLogprobs] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop text was completed."""
        return self._emitter.stopped

    def add(self, token: int, draw: Draw) -> Tokens | None:
        """Take the next token; the event that it completes, if any."""
        self._token_ids.append(token)
        self._text += self._emitter.add(token)
        if draw.logprob is not None:
            top = [TopLogprob(other, self._token_text(other), max(LEAST, logprob)) for other, logprob in draw.top]
            self._logprobs.append(TokenLogprobs(token, self._token_text(token), max(LEAST, draw.logprob), top))
        return self.flush() if len(self._token_ids) >= self._chunk_tokens else None

    def flush(self) -> Tokens | None:
        """The event of what is gathered so far."""
        if not self._token_ids:
            return None
        event = Tokens(self.job, self._token_ids, self._text, self._logprobs or None)
        self._token_ids, self._text, self._logprobs = [], "", []
        return event

    def finish(self) -> str:
        """The text that was still held back; after `flush`."""
        return self._emitter.finish()
