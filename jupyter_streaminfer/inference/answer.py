"""What a sequence's reader is told: its tokens with their text, one by one or in chunks."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import Literal

from jupyter_streaminfer.inference.detokenizer import detokenizers, token_texts
from jupyter_streaminfer.inference.emitter import Emitter
from jupyter_streaminfer.inference.intake import invalid
from jupyter_streaminfer.inference.sampler import Draw
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import (
    ErrorInfo,
    Finished,
    GenerateJob,
    JobEvent,
    JobFailed,
    Started,
    TokenLogprobs,
    Tokens,
    TopLogprob,
)

Reason = Literal["stop", "length"]
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

    def replay(self, token_ids: Seq[int]) -> None:
        """Take the first tokens, which were told already with all of their text but what is held back of it.

        `StreaminferError` where there are more than the answer can have: some after a stop text.
        """
        for count, token in enumerate(token_ids):
            if self.stopped:
                raise invalid(
                    "delivered",
                    f"{len(token_ids)} tokens were told already, but a stop text ends the answer after {count} of them",
                )
            self._emitter.add(token)

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


class Answers:
    """The answers that one model is giving, by job."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._detokenizer = detokenizers(tokenizer)
        self._token_text = token_texts(tokenizer)
        self._answers: dict[str, Answer] = {}
        self._whole: dict[str, Reason] = {}
        """Why those end that were whole when they began."""

    def __contains__(self, job: str) -> bool:
        return job in self._answers

    @property
    def jobs(self) -> list[str]:
        """Whose answers they are."""
        return list(self._answers)

    @property
    def any_whole(self) -> bool:
        """Whether `end_whole` has something to tell."""
        return bool(self._whole)

    def begin(self, job: GenerateJob, sequence: Sequence) -> bool:
        """Begin the answer to a job after what was told of it already; whether a token is missing to its end."""
        request = job.request
        emitter = Emitter(self._detokenizer(), request.stop, request.min_tokens)
        answer = Answer(job.job, emitter, request.chunk_tokens, self._token_text)
        answer.replay(job.delivered)
        self._answers[job.job] = answer
        if (reason := _end_of(sequence, answer)) is not None:
            self._whole[job.job] = reason
        return reason is None

    def end_whole(self) -> list[JobEvent]:
        """The ends of those that began whole, and forget these."""
        events: list[JobEvent] = []
        for job, reason in list(self._whole.items()):
            events.append(Started(job, 0.0))
            self._finish(job, reason, events)
        return events

    def add(self, sequence: Sequence, draw: Draw, events: list[JobEvent]) -> bool:
        """Give a sequence its next token, or forget its answer, which ends with it; whether it goes on."""
        job, token = sequence.job, draw.token
        if token is None or token in sequence.sampling.stop_ids:
            self._finish(job, None if token is None else "stop", events)
            return False
        answer = self._answers[job]
        sequence.token_ids.append(token)
        if event := answer.add(token, draw):
            events.append(event)
        if (reason := _end_of(sequence, answer)) is None:
            return True
        self._finish(job, reason, events)
        return False

    def remove(self, job: str) -> None:
        """Forget an answer, if it is known."""
        self._answers.pop(job, None)
        self._whole.pop(job, None)

    def _finish(self, job: str, reason: Reason | None, events: list[JobEvent]) -> None:
        """Tell the rest of an answer; without a ``reason`` only what its tokens have shown, for it fails."""
        answer = self._answers[job]
        if rest := answer.flush():
            events.append(rest)
        if reason is None:
            events.append(JobFailed(job, ErrorInfo("internal", "the model's output for this sequence is not finite")))
        else:
            events.append(Finished(job, reason, answer.finish()))
        self.remove(job)


def _end_of(sequence: Sequence, answer: Answer) -> Reason | None:
    """Why an answer is whole, if it is."""
    if answer.stopped:
        return "stop"
    return "length" if sequence.generated >= sequence.max_tokens else None
