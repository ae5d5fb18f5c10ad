"""What the server says to one connection; not in any log."""

from __future__ import annotations

from typing import Literal

from msgspec import Raw, Struct

from jupyter_streaminfer.protocol.errors import ErrorCode, ErrorInfo
from jupyter_streaminfer.protocol.events import Event
from jupyter_streaminfer.protocol.metrics import Metrics
from jupyter_streaminfer.protocol.rest import ModelStatus, StreamStatus


class Snapshot(Struct, frozen=True, omit_defaults=True):
    """What a stream had brought before its ``floor``."""

    text: str
    tokens: int
    values: int = 0
    """How many of them are those of `Partial` events, which are not kept."""


class Attached(Struct, frozen=True, tag_field="type", tag="attached"):
    """The first frame of a stream on a connection, answering `Generate`, `Continue` and `Attach`."""

    id: str
    stream: str
    epoch: str
    floor: int
    """The lowest ``seq`` still in the log."""
    head: int
    """The ``seq`` that the next event will have."""
    closed: bool
    recovered: bool
    """Whether everything after the reader's cursor follows."""
    snapshot: Snapshot | None = None
    """Where it does not, and the reader asked for it: what stands for everything before ``floor``."""


class Notice(Struct, frozen=True, tag_field="type", tag="notice"):
    """Something to know about a stream, said to one consumer; it is not in the log and has no ``seq``."""

    stream: str
    code: Literal["slow_consumer", "paused", "resumed", "retrying", "repeating", "stalled", "long", "alert"]
    """``slow_consumer``: the reader is about to be waited for. ``paused``, ``resumed``: the stream waits for its
    readers, and goes on. ``retrying``: its worker was lost or late, and it is computed on from where it was.
    ``repeating``, ``stalled``, ``long``: it was found odd (`Oddity`). ``alert``: an alert fires for its model."""
    message: str


class Scored(Struct, frozen=True):
    """One class and how sure the model is of it."""

    label: str
    confidence: float


class Prediction(Struct, frozen=True):
    """The answer for one row."""

    label: str
    confidence: float
    """Probability of ``label``, 0 to 1."""
    scores: list[Scored]
    """Every class, the surest first."""


class Span(Struct, frozen=True):
    """A part of a text and what it is."""

    start: int
    """Its first character."""
    end: int
    """The one after its last."""
    text: str
    label: str
    confidence: float


class Result(Struct, frozen=True, tag_field="type", tag="result", omit_defaults=True):
    id: str
    model: str
    version: str
    outputs: Raw
    """The JSON text of a list: for each row of the request, in its order, what the model's `Signature.kind` says."""
    cached: bool = False
    """Whether it was computed before, for a request with ``cache``."""


class Embeddings(Struct, frozen=True, tag_field="type", tag="embeddings"):
    id: str
    model: str
    version: str
    vectors: list[list[float]]
    """``[texts, hidden size]``, in the order of the request."""
    prompt_tokens: int
    """Of all texts together."""


class Likelihood(Struct, frozen=True):
    """How likely a continuation is, in natural logarithms."""

    logprob: float
    """The sum over its tokens."""
    token_logprobs: list[float]
    greedy: bool
    """Whether greedy generation would give exactly these tokens."""


class Scores(Struct, frozen=True, tag_field="type", tag="scores"):
    id: str
    model: str
    version: str
    scores: list[Likelihood]
    """One for each continuation, in the order of the request."""
    prompt_tokens: int
    """Of the prompt and all continuations."""


class Error(Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    """`ErrorInfo` in a frame; ``id`` is absent where the request's own could not be read."""

    code: ErrorCode
    message: str
    retryable: bool
    id: str | None = None
    field: str | None = None
    retry_after_ms: float | None = None

    @classmethod
    def of(cls, info: ErrorInfo, id: str | None = None) -> Error:
        """The frame that tells request ``id`` of ``info``."""
        return cls(info.code, info.message, info.retryable, id, info.field, info.retry_after_ms)


class Ok(Struct, frozen=True, tag_field="type", tag="ok"):
    id: str


class Pong(Struct, frozen=True, tag_field="type", tag="pong"):
    id: str


class Watching(Struct, frozen=True, tag_field="type", tag="watching"):
    """The answer to `Watch`."""

    id: str
    interval_s: float
    """Seconds from one sample to the next."""
    history: list[Metrics]
    """The samples of the time that was asked for, the oldest first."""


class MetricsSample(Struct, frozen=True, tag_field="type", tag="metrics"):
    """Topic ``metrics``."""

    metrics: Metrics


class ModelsSample(Struct, frozen=True, tag_field="type", tag="models"):
    """Topic ``models``."""

    models: list[ModelStatus]


class StreamsSample(Struct, frozen=True, tag_field="type", tag="streams"):
    """Topic ``streams``."""

    streams: list[StreamStatus]
    """The open ones first, each the newest first; 200 at most."""
    left_out: int = 0
    """How many more are kept; no open one of them while a closed one is listed."""
    open: int = 0
    """How many are open in all."""


Sample = MetricsSample | ModelsSample | StreamsSample
Reply = Attached | Notice | Result | Embeddings | Scores | Error | Ok | Pong | Watching
ServerMessage = Event | Reply | Sample
