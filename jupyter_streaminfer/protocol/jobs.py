"""What the engine hands to a worker, and what a worker's step gives back."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from jupyter_streaminfer.protocol.errors import ErrorInfo
from jupyter_streaminfer.protocol.events import TokenLogprobs
from jupyter_streaminfer.protocol.replies import Likelihood
from jupyter_streaminfer.protocol.requests import Embed, Generate, Score


class GenerateJob(Struct, frozen=True, tag=True):
    """A `Generate` that the engine admitted, under the id of its stream."""

    job: str
    request: Generate
    seed: int
    delivered: list[int] = []
    """Tokens of the answer that were told already; it goes on after them and does not tell them again."""
    client: str = ""
    """Whose it is: clients are served in turn."""


class PredictJob(Struct, frozen=True, tag=True):
    job: str
    inputs: bytes
    """JSON text, as `Predict` has it."""
    client: str = ""
    priority: int = 0
    deadline_ms: float | None = None
    """How much of its time is left as it is sent."""


class RunJob(Struct, frozen=True, tag=True):
    """A `Run` that the engine admitted, under the id of its stream."""

    job: str
    inputs: bytes
    client: str = ""


class EmbedJob(Struct, frozen=True, tag=True):
    job: str
    request: Embed
    client: str = ""


class ScoreJob(Struct, frozen=True, tag=True):
    job: str
    request: Score
    client: str = ""


Job = GenerateJob | RunJob | PredictJob | EmbedJob | ScoreJob


class Admitted(Struct, frozen=True, tag=True):
    """The model accepted the job's input; tokens follow."""

    job: str
    prompt_tokens: int


class Rejected(Struct, frozen=True, tag=True):
    """The model refused the job's input; nothing else follows."""

    job: str
    error: ErrorInfo


class Started(Struct, frozen=True, tag=True):
    """The job's first computation began with this step."""

    job: str
    ago_ms: float
    """How long before this message, so that the worker's clock and the reader's need not agree."""
    cached_tokens: int = 0
    """Tokens of the prompt whose keys and values were in the prefix cache."""


class Tokens(Struct, frozen=True, tag=True):
    job: str
    token_ids: list[int]
    text: str
    logprobs: list[TokenLogprobs] | None = None


class Finished(Struct, frozen=True, tag=True):
    """The job ended in order; after a cancel nothing follows at all."""

    job: str
    finish_reason: Literal["stop", "length"]
    text: str = ""
    """What the detokenizer still held."""


class Yielded(Struct, frozen=True, tag=True):
    """What a `RunJob` brought: a text goes on as a delta, anything else as a `Partial`."""

    job: str
    value: bytes
    """JSON text."""


class Predicted(Struct, frozen=True, tag=True):
    job: str
    outputs: bytes
    """JSON text, as `Result` has it."""


class Embedded(Struct, frozen=True, tag=True):
    job: str
    vectors: list[list[float]]
    prompt_tokens: int


class ScoredTexts(Struct, frozen=True, tag=True):
    job: str
    scores: list[Likelihood]
    prompt_tokens: int


class JobFailed(Struct, frozen=True, tag=True):
    job: str
    error: ErrorInfo


JobEvent = Admitted | Rejected | Started | Tokens | Yielded | Finished | Predicted | Embedded | ScoredTexts | JobFailed
