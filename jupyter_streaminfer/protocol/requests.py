"""What a client may send on the native WebSocket."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct, structs

from jupyter_streaminfer.protocol.limits import (
    MAX_CHAT_MESSAGES,
    MAX_CHUNK_TOKENS,
    MAX_DEADLINE_MS,
    MAX_KEY_CHARACTERS,
    MAX_LOGIT_BIAS,
    MAX_LOGPROBS,
    MAX_PROMPT_CHARACTERS,
    MAX_STOP_CHARACTERS,
    MAX_STOPS,
    MAX_TEXTS,
    MAX_TOKENS,
    ModelRef,
    RequestId,
    StreamId,
)
from jupyter_streaminfer.protocol.metrics import HISTORY_S, Topic

TokenIds = Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=MAX_PROMPT_CHARACTERS)]


class ChatMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation, for the model's chat template."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)]


class Request(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What every request has: an ``id`` that its answer repeats, unique among those under way on the connection."""

    id: RequestId


RoutingKey = Annotated[str, Meta(min_length=1, max_length=MAX_KEY_CHARACTERS)]
"""What a split between versions is sticky to, such as a user's id; absent: the client."""
Milliseconds = Annotated[float, Meta(gt=0.0, le=MAX_DEADLINE_MS)]


class Deadlines(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How long a stream may take, in milliseconds from its acceptance; those that are absent are the server's own."""

    queue_ms: Milliseconds | None = None
    """Until its first computation begins; then it ends as `Failed`, code ``expired``."""
    first_token_ms: Milliseconds | None = None
    """Until its first token; then it is tried once more, and after as long again it ends as `Failed`, ``deadline``."""
    inactivity_ms: Milliseconds | None = None
    """From one token to the next, pauses for slow consumers included; then `Failed`, ``deadline``, and resumable."""
    total_ms: Milliseconds | None = None
    """Until its end; then it ends in order, as `Incomplete`."""


class Generate(Request, frozen=True, tag="generate"):
    """Start a stream. Exactly one of ``prompt``, ``messages`` and ``token_ids``."""

    model: ModelRef
    prompt: Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)] | None = None
    messages: Annotated[list[ChatMessage], Meta(max_length=MAX_CHAT_MESSAGES)] | None = None
    token_ids: TokenIds | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] | None = None
    """New tokens at most; absent: 128, or what the context has left if that is less."""
    temperature: Annotated[float, Meta(ge=0.0, le=100.0)] = 1.0
    """0 is greedy: the likeliest token each time."""
    top_k: Annotated[int, Meta(ge=0)] = 0
    """Only the k likeliest tokens are drawn from; 0 is no limit."""
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """Only the likeliest tokens that together reach this probability are drawn from."""
    min_p: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    """Only tokens at least this many times as likely as the likeliest are drawn from; 0 is no limit."""
    repetition_penalty: Annotated[float, Meta(gt=0.0, le=10.0)] = 1.0
    """Divides the positive logits of tokens of the prompt or answer and multiplies their negative ones (CTRL, 2019)."""
    presence_penalty: Annotated[float, Meta(ge=-2.0, le=2.0)] = 0.0
    """Subtracted from the logit of every token that the answer has already, as OpenAI defines it."""
    frequency_penalty: Annotated[float, Meta(ge=-2.0, le=2.0)] = 0.0
    """The same, times how often the answer has it."""
    logit_bias: Annotated[dict[int, Annotated[float, Meta(ge=-100.0, le=100.0)]], Meta(max_length=MAX_LOGIT_BIAS)] = {}
    """Added to the logits of these token ids."""
    stop: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=MAX_STOP_CHARACTERS)]], Meta(max_length=MAX_STOPS)
    ] = []
    """The answer ends before the first of these texts; no part of it is shown."""
    stop_token_ids: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=MAX_STOPS)] = []
    """The answer ends before the first of these tokens, as it does before the model's own end."""
    min_tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] = 0
    """No token that would end the answer is chosen, and no stop text is looked for, before this many new tokens."""
    logprobs: Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    """Report each token's log-probability and those of so many likeliest ones, before temperature and filters."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    """The same seed gives the same stream, alone or in any batch; absent: a random one."""
    ignore_eos: bool = False
    """Go on to ``max_tokens`` past the model's own end (for benchmarks)."""
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    """Higher ones get a place before lower ones; those alike in the order of their arrival."""
    chunk_tokens: Annotated[int, Meta(ge=1, le=MAX_CHUNK_TOKENS)] = 1
    """Tokens of a delta; a consumer that lags gets merged ones all the same."""
    detached: bool = False
    """Go on even when nobody listens or keeps up; otherwise a stream without consumers ends after a grace period."""
    deadlines: Deadlines | None = None
    """Where they differ from the server's."""
    key: RoutingKey | None = None


def copies(request: Generate, n: int) -> list[Generate]:
    """The request ``n`` times, for ``n`` answers to one prompt: with seeds that count up where it has one."""
    if request.seed is None:
        return [request] * n
    return [structs.replace(request, seed=(request.seed + index) % 2**63) for index in range(n)]


class Predict(Request, frozen=True, tag="predict"):
    """One prediction over rows; answered by one `Result`, which costs no log."""

    model: ModelRef
    inputs: Raw
    """The JSON text of an `Inputs`, 1 to `MAX_PREDICT_ROWS` rows, which the model's worker reads by its `Signature`."""
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    """Higher ones are computed before lower ones."""
    deadline_ms: Milliseconds | None = None
    """Not computed later than so long after its acceptance; then it is refused as ``expired``."""
    cache: bool = False
    """Answer from what the same version said to the same inputs before, and keep what it says now."""
    key: RoutingKey | None = None


class Run(Request, frozen=True, tag="run"):
    """Start a stream of a model whose task is ``stream``: what it yields is told as `Partial` and `Delta` events."""

    model: ModelRef
    inputs: Raw
    """The JSON text of what its callable gets."""
    detached: bool = False
    deadlines: Deadlines | None = None
    key: RoutingKey | None = None


Text = Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)] | TokenIds
"""A text, or its token ids."""


class Embed(Request, frozen=True, tag="embed"):
    """Embeddings of some texts by a language model; answered by one `Embeddings`, which costs no log."""

    model: ModelRef
    inputs: Annotated[list[Text], Meta(min_length=1, max_length=MAX_TEXTS)]
    pooling: Literal["mean", "last"] = "mean"
    """Of the last hidden states: the mean over a text's tokens, or that of its last token."""
    normalize: bool = False
    """Scale each vector to length 1."""


class Score(Request, frozen=True, tag="score"):
    """How likely each continuation of a prompt is; answered by one `Scores`, which costs no log."""

    model: ModelRef
    prompt: Text
    continuations: Annotated[list[Text], Meta(min_length=1, max_length=MAX_TEXTS)]
    """Each is tokenised alone, without special tokens, and follows the prompt's tokens."""


class Attach(Request, frozen=True, tag="attach"):
    """Read a stream: everything after ``after``, then live. Whole or refused."""

    stream: StreamId
    epoch: str | None = None
    """The epoch that the reader knows; another one now means that its past is void, and the attach is refused."""
    after: Annotated[int, Meta(ge=-1)] = -1
    """The last ``seq`` that the reader has; -1 for none."""
    snapshot: bool = False
    """Where the log does not reach back that far any more, begin with the text so far instead of a refusal."""


class Continue(Request, frozen=True, tag="continue"):
    """Start a stream that goes on where one that ended without being complete stopped; it tells new tokens only.

    The request is that stream's own, and so is its seed: the tokens are those that it would have had.
    """

    stream: StreamId


class Cancel(Request, frozen=True, tag="cancel"):
    """End a stream; answered by `Ok`, the stream itself by `Cancelled`. A closed stream stays as it is."""

    stream: StreamId


class Ack(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="ack"):
    """What a reader has dealt with, up to ``seq``. It is not answered.

    From a stream's first one on, only what was acknowledged counts as read on this connection: without any, what the
    socket took.
    """

    stream: StreamId
    seq: Annotated[int, Meta(ge=0)]


class Ping(Request, frozen=True, tag="ping"):
    """Answered by `Pong`."""


class Watch(Request, frozen=True, tag="watch"):
    """Be sent samples of what the engine does, one a second, until `Unwatch`; answered by `Watching`.

    Samples are one for all watchers, so they carry no ``id``: a connection has one watch at a time, and another one
    takes its place. A watcher that does not read them in time misses some, and in the end is dropped.
    """

    topics: Annotated[list[Topic], Meta(min_length=1, max_length=3)]
    history_s: Annotated[float, Meta(ge=0.0, le=HISTORY_S)] = 0.0
    """How far back the `Watching` that answers this reaches, in seconds."""


class Unwatch(Request, frozen=True, tag="unwatch"):
    """Be sent no more samples; answered by `Ok`."""


AnyRequest = Generate | Continue | Run | Predict | Embed | Score | Attach | Cancel | Ping | Watch | Unwatch
"""What is answered."""
ClientMessage = AnyRequest | Ack
