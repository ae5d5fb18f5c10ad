"""What a stream's log holds: one writer, ``seq`` dense from 0, exactly one terminal event, the last."""

from __future__ import annotations

from typing import Literal

from msgspec import Raw, Struct

from jupyter_streaminfer.protocol.errors import ErrorInfo


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


class TopLogprob(Struct, frozen=True):
    """A token that was likely at a place."""

    token_id: int
    text: str
    logprob: float
    """Natural logarithm of its probability before temperature, penalties and filters."""


class TokenLogprobs(Struct, frozen=True):
    """A token of the answer, how likely it was, and the likeliest ones at its place."""

    token_id: int
    text: str
    """The token alone; where it is no whole character, U+FFFD stands for what is missing."""
    logprob: float
    top: list[TopLogprob]
    """The likeliest first, as many as the request asked for."""


class Delta(Struct, frozen=True, tag_field="type", tag="delta", omit_defaults=True):
    """New tokens. ``text`` may be empty where a token ends inside a character.

    Each text that a model of task ``stream`` yielded is a token without an id: it is in ``at_ms`` only.
    """

    stream: str
    seq: int
    text: str
    token_ids: list[int]
    at_ms: list[float]
    """For each token, when it was appended to the log: milliseconds since the request was accepted."""
    last: int | None = None
    """The last ``seq`` of a merged delta, whose first is ``seq``; absent for a single one."""
    logprobs: list[TokenLogprobs] | None = None
    """One for each token id, where the request asked for them."""


class Partial(Struct, frozen=True, tag_field="type", tag="partial"):
    """A value that a model of task ``stream`` yielded: progress, an intermediate or a final one. Never merged."""

    stream: str
    seq: int
    value: Raw
    at_ms: float
    """When it was appended to the log: milliseconds since the request was accepted."""


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
    """Who ended it: a cancel, nobody who reads it (the grace period after the last consumer left, or an OpenAI client
    that went away), or the model or server going away."""
    usage: Usage
    timings: Timings


class Failed(Struct, frozen=True, tag_field="type", tag="failed"):
    """What was received before it stays valid."""

    stream: str
    seq: int
    error: ErrorInfo
    usage: Usage
    timings: Timings
    resumable: bool = False
    """Whether `Continue` can go on after what was received."""


class Incomplete(Struct, frozen=True, tag_field="type", tag="incomplete"):
    """It ended in order before its end; what was received is valid, and `Continue` can go on after it."""

    stream: str
    seq: int
    reason: Literal["deadline"]
    usage: Usage
    timings: Timings


Event = Delta | Partial | Completed | Cancelled | Failed | Incomplete
TERMINAL = (Completed, Cancelled, Failed, Incomplete)
