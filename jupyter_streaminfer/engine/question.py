"""A question: a request that one event of a worker answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Raw, Struct, field

from jupyter_streaminfer.engine.admission import Ticket
from jupyter_streaminfer.engine.model import Model
from jupyter_streaminfer.protocol import (
    Embed,
    Embedded,
    Embeddings,
    EmbedJob,
    ErrorCode,
    ErrorInfo,
    Job,
    JobEvent,
    JobFailed,
    Predict,
    Predicted,
    PredictJob,
    Rejected,
    Result,
    Score,
    ScoredTexts,
    ScoreJob,
    Scores,
    StreaminferError,
)

if TYPE_CHECKING:
    from jupyter_streaminfer.engine.metrics.series import ModelSeries
    from jupyter_streaminfer.engine.metrics.tally import Outcome, Tally

Asked = Predict | Embed | Score
Answer = Result | Embeddings | Scores
OnAnswer = Callable[[Answer | StreaminferError], None]


class Pending(Protocol):
    """What an asker waits for."""

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""


class Question(Struct, eq=False):
    """What someone asked and waits for, whatever becomes of the worker. A `dispatch.Task`."""

    _id: str
    _request: Asked
    _client: str
    model: Model
    ticket: Ticket
    _on_answer: OnAnswer
    """Told once, unless it is cancelled."""
    _on_end: Callable[[Question], None]
    """Told in any case, just before."""
    counted: tuple[ModelSeries, Tally] | None = None
    """Where it is open, and will have ended; None for what nobody asked for."""
    accepted: float = field(default_factory=time.monotonic)
    strikes: int = 0
    outcome: Outcome | None = None
    """What became of it; None while it is open."""
    code: ErrorCode | None = None
    """Why there is no answer, where there is none."""

    def next_job(self, attempt: str) -> Job:
        """The job that answers it."""
        job, request = f"{self._id}.{attempt}", self._request
        match request:
            case Predict():
                left = request.deadline_ms
                if left is not None:
                    left -= (time.monotonic() - self.accepted) * 1000
                return PredictJob(job, bytes(request.inputs), self._client, request.priority, left)
            case Embed():
                return EmbedJob(job, request, self._client)
            case Score():
                return ScoreJob(job, request, self._client)

    def on_event(self, event: JobEvent) -> None:
        """Take the answer."""
        spec = self.model.spec
        id, name, version = self._request.id, spec.name, spec.version
        match event:
            case Predicted():
                self._tell(Result(id, name, version, Raw(event.outputs)))
            case Embedded():
                self._tell(Embeddings(id, name, version, event.vectors, event.prompt_tokens))
            case ScoredTexts():
                self._tell(Scores(id, name, version, event.scores, event.prompt_tokens))
            case Rejected() | JobFailed():
                self.refuse(event.error)
            case _:
                raise AssertionError("a question cannot bring a stream's events")

    def on_lost(self, error: ErrorInfo) -> None:
        """Its worker is gone; it is asked again."""

    def on_poison(self, error: ErrorInfo) -> None:
        """Be refused for good."""
        self.refuse(error)

    def refuse(self, error: ErrorInfo) -> None:
        """Have the asker told that there will be no answer."""
        self._tell(StreaminferError.of(error))

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        if self.outcome is None:
            self.outcome = "disconnected"
            self.model.dispatch.cancel(self)
            self._on_end(self)

    def _tell(self, answer: Answer | StreaminferError) -> None:
        if self.outcome is None:
            self.model.dispatch.ended(self)
            if isinstance(answer, StreaminferError):
                self.code = answer.code
                self.outcome = "cancelled" if answer.code == "cancelled" else "failed"
            else:
                self.outcome = "completed"
                self.model.requests += 1
            self._on_end(self)
            self._on_answer(answer)
