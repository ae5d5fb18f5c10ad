"""The messages, typed: requests, events and replies, and what the engine and a worker exchange.

Everything that crosses a room's wall is one of these structs. JSON on the WebSocket and in REST bodies
(`docs/protocol.md` explains each field); TypeScript types are generated from them. Unknown fields are
refused. Times are milliseconds and are named so.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""A request's JSON text; a longer one is refused as ``too_large`` unread."""
MAX_PROMPT_CHARACTERS = 1_000_000
MAX_CHAT_MESSAGES = 1_000
MAX_TOKENS = 1_000_000
"""No model is asked for more new tokens than this; its own context is usually the nearer limit."""
MAX_PREDICT_ROWS = 4096
DEFAULT_MAX_TOKENS = 128
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a model may be called, matched whole: no separators, so a name can never be a path."""

ErrorCode = Literal[
    "invalid_request",
    "model_not_found",
    "model_not_ready",
    "stream_not_found",
    "rate_limited",
    "overloaded",
    "too_large",
    "expired",
    "deadline",
    "cancelled",
    "worker_lost",
    "internal",
]

RequestId = Annotated[str, Meta(min_length=1, max_length=128)]
ModelName = Annotated[str, Meta(min_length=1, max_length=64)]
StreamId = Annotated[str, Meta(min_length=1, max_length=64)]


class ErrorInfo(Struct, frozen=True, omit_defaults=True):
    """Why something was refused or failed, in the one shape that errors have everywhere."""

    code: ErrorCode
    message: str
    """What is wrong and what to do about it."""
    retryable: bool = False
    field: str | None = None
    """The request's field that is at fault."""
    retry_after_ms: float | None = None


class StreaminferError(Exception):
    """An `ErrorInfo` on its way to whoever asked."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        field: str | None = None,
        retryable: bool = False,
        retry_after_ms: float | None = None,
    ) -> None:
        super().__init__(message)
        self.info = ErrorInfo(code, message, retryable, field, retry_after_ms)

    @classmethod
    def of(cls, info: ErrorInfo) -> StreaminferError:
        """The exception that carries ``info``."""
        return cls(
            info.code,
            info.message,
            field=info.field,
            retryable=info.retryable,
            retry_after_ms=info.retry_after_ms,
        )

    @property
    def code(self) -> ErrorCode:
        return self.info.code

    @property
    def field(self) -> str | None:
        return self.info.field


_FIELD = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")


def invalid_request(error: ValidationError) -> StreaminferError:
    """The refusal of a message that does not fit its type; it names the field where msgspec's error does."""
    message = str(error)
    found = _FIELD.search(message)
    path = found["path"] if found else ""
    if unknown := _UNKNOWN_FIELD.search(message):
        path = f"{path}.{unknown['name']}" if path else unknown["name"]
    reason = _FIELD.sub("", message)
    return StreaminferError("invalid_request", f"{path}: {reason}" if path else reason, field=path or None)


# Requests: what a client may send on the native WebSocket.


class ChatMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation, for the model's chat template."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)]


class Request(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What every request has: an ``id`` that its answer repeats, unique among those under way on the connection."""

    id: RequestId


class Generate(Request, frozen=True, tag="generate"):
    """Start a stream. Exactly one of ``prompt``, ``messages`` and ``token_ids``."""

    model: ModelName
    prompt: Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)] | None = None
    messages: Annotated[list[ChatMessage], Meta(max_length=MAX_CHAT_MESSAGES)] | None = None
    token_ids: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=MAX_PROMPT_CHARACTERS)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = None
    """New tokens at most; absent: 128, or what the context has left if that is less."""
    temperature: Annotated[float, Meta(ge=0.0, le=100.0)] = 1.0
    """0 is greedy: the likeliest token each time."""
    top_k: Annotated[int, Meta(ge=0)] = 0
    """Only the k likeliest tokens are drawn from; 0 is no limit."""
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """Only the likeliest tokens that together reach this probability are drawn from."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    """The same seed gives the same stream, alone or in any batch; absent: a random one."""
    ignore_eos: bool = False
    """Go on to ``max_tokens`` past the model's own end (for benchmarks)."""
    detached: bool = False
    """Go on even when nobody listens; otherwise a stream without consumers ends after a grace period."""


class Predict(Request, frozen=True, tag="predict"):
    """One prediction over rows; answered by one `Result`, which costs no log."""

    model: ModelName
    inputs: Annotated[list[Any], Meta(min_length=1, max_length=MAX_PREDICT_ROWS)]
    """``[rows, ...]`` as the model's ``input_shape`` says (`ModelInfo`), nested lists of finite numbers."""


class Attach(Request, frozen=True, tag="attach"):
    """Read a stream: everything after ``after``, then live. Whole or refused."""

    stream: StreamId
    epoch: str | None = None
    """The epoch that the reader knows; another one now means that its past is void, and the attach is refused."""
    after: Annotated[int, Meta(ge=-1)] = -1
    """The last ``seq`` that the reader has; -1 for none."""


class Cancel(Request, frozen=True, tag="cancel"):
    """End a stream; answered by `Ok`, the stream itself by `Cancelled`. A closed stream stays as it is."""

    stream: StreamId


class Ping(Request, frozen=True, tag="ping"):
    """Answered by `Pong`."""


AnyRequest = Generate | Predict | Attach | Cancel | Ping


# Events: what a stream's log holds. One writer, ``seq`` dense from 0, exactly one terminal event, the last.


class Usage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Timings(Struct, frozen=True):
    """Milliseconds on the server's clock, from the moment the request was accepted."""

    queue_ms: float
    """Until its first computation began."""
    ttft_ms: float | None
    """Until its first token was in the log; none if there was no token."""
    duration_ms: float


class Delta(Struct, frozen=True, tag_field="type", tag="delta", omit_defaults=True):
    """New tokens. ``text`` may be empty where a token ends inside a character."""

    stream: str
    seq: int
    text: str
    token_ids: list[int]
    at_ms: list[float]
    """For each token, when it was appended to the log: milliseconds since the request was accepted."""
    last: int | None = None
    """The last ``seq`` of a merged delta, whose first is ``seq``; absent for a single one."""


class Completed(Struct, frozen=True, tag_field="type", tag="completed"):
    stream: str
    seq: int
    finish_reason: Literal["stop", "length"]
    usage: Usage
    timings: Timings


class Cancelled(Struct, frozen=True, tag_field="type", tag="cancelled"):
    stream: str
    seq: int
    reason: Literal["client", "abandoned", "unload", "shutdown"]
    """Who ended it: a cancel, the grace period after the last consumer left, or the model or server going away."""
    usage: Usage
    timings: Timings


class Failed(Struct, frozen=True, tag_field="type", tag="failed"):
    """What was received before it stays valid."""

    stream: str
    seq: int
    error: ErrorInfo
    usage: Usage
    timings: Timings


Event = Delta | Completed | Cancelled | Failed
TERMINAL = (Completed, Cancelled, Failed)


# Replies: what the server says to one connection; not in any log.


class Attached(Struct, frozen=True, tag_field="type", tag="attached"):
    """The first frame of a stream on a connection, answering `Generate` and `Attach`."""

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


class Result(Struct, frozen=True, tag_field="type", tag="result"):
    id: str
    model: str
    version: str
    outputs: list[Prediction]
    """One for each row of the request, in its order."""


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


Reply = Attached | Result | Error | Ok | Pong
ServerMessage = Event | Reply


# REST: what the `api/` addresses take and give.


class LoadModel(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST api/models``."""

    name: ModelName
    path: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """A model folder on the server; absent: the bundled model of that name."""


class ModelInfo(Struct, frozen=True, omit_defaults=True):
    """What a loaded model is and takes."""

    task: Literal["generate", "predict"]
    architecture: str
    parameters: int
    """How many numbers its weights hold."""
    weight_bytes: int
    device: str
    dtype: str
    context_length: int = 0
    """Tokens of prompt and answer together (``generate``)."""
    max_batch_size: int = 0
    """Sequences or rows computed together at most."""
    cache_bytes: int = 0
    """The KV cache, allocated up front (``generate``)."""
    chat: bool = False
    """Whether it has a chat template (``generate``)."""
    input_shape: list[int] = []
    """One row's shape (``predict``)."""
    labels: list[str] = []
    """The classes, in the model's order (``predict``)."""


class ModelStatus(Struct, frozen=True):
    """One model of the registry."""

    name: str
    version: str
    state: Literal["loading", "ready", "failed", "unloading"]
    path: str
    placement: str
    loaded_ms: float = 0.0
    """How long the load took, warm-up included."""
    active: int = 0
    """Requests admitted and not yet ended."""
    requests: int = 0
    """Requests ever admitted."""
    info: ModelInfo | None = None
    error: ErrorInfo | None = None

    def __repr__(self) -> str:
        about: list[str] = [self.state]
        if self.info is not None:
            about += [self.info.task, f"{self.info.parameters:,} parameters", f"{self.info.device} {self.info.dtype}"]
            if self.info.context_length:
                about.append(f"context {self.info.context_length:,}")
        if self.error is not None:
            about.append(self.error.message)
        return f"<{self.name}@{self.version}: {', '.join(about)}>"


class StreamStatus(Struct, frozen=True):
    """One stream of the engine, without its events."""

    stream: str
    epoch: str
    model: str
    version: str
    state: Literal["open", "completed", "cancelled", "failed"]
    floor: int
    head: int
    consumers: int
    detached: bool
    age_ms: float
    """Since the request was accepted."""


class StreamDocument(Struct, frozen=True):
    """``GET api/streams/ID``: the whole log so far as one reading."""

    status: StreamStatus
    text: str
    events: list[Event]


class Health(Struct, frozen=True):
    status: Literal["ok", "degraded", "stopping"]
    """``degraded``: a loaded model's worker is dead."""
    version: str
    models: int
    """Ready to answer."""
    streams: int
    """Open."""
    connections: int


# Jobs: what the engine hands to a worker, and what a worker's step gives back.


class GenerateJob(Struct, frozen=True):
    """A `Generate` that the engine admitted, under the id of its stream."""

    job: str
    request: Generate
    seed: int


class PredictJob(Struct, frozen=True):
    job: str
    inputs: list[Any]


Job = GenerateJob | PredictJob


class Admitted(Struct, frozen=True):
    """The model accepted the job's input; tokens follow."""

    job: str
    prompt_tokens: int


class Rejected(Struct, frozen=True):
    """The model refused the job's input; nothing else follows."""

    job: str
    error: ErrorInfo


class Started(Struct, frozen=True):
    """The job's first computation began with this step."""

    job: str
    ago_ms: float
    """How long before this message, so that the worker's clock and the reader's need not agree."""


class Tokens(Struct, frozen=True):
    job: str
    token_ids: list[int]
    text: str


class Finished(Struct, frozen=True):
    """The job ended in order; after a cancel nothing follows at all."""

    job: str
    finish_reason: Literal["stop", "length"]
    text: str = ""
    """What the detokenizer still held."""


class Predicted(Struct, frozen=True):
    job: str
    outputs: list[Prediction]


class JobFailed(Struct, frozen=True):
    job: str
    error: ErrorInfo


JobEvent = Admitted | Rejected | Started | Tokens | Finished | Predicted | JobFailed
