"""One generation under way: its tokens, how far they are computed, and how it samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; the fields mean what they mean in `protocol.Generate`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    min_tokens: int = 0
    stop_ids: frozenset[int] = frozenset()
    """Tokens that end the answer and so are not chosen before ``min_tokens``: the model's own and the request's."""
    logprobs: int | None = None
    seed: int = 0


@dataclass(slots=True, eq=False)
class Sequence:
    """``token_ids`` are the prompt and what was generated; the first ``computed`` of them are in the KV cache."""

    job: str
    token_ids: list[int]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    priority: int = 0
    client: str = ""
    """Whose it is: those of several clients are served in turn."""
    reads_from: int | None = None
    """The hidden states of this position and all after it are a result; None: only the last's, for the next token."""
    prompt_tokens: int = field(init=False)
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    """Where its keys and values are: block ``i`` holds positions ``i * BLOCK_TOKENS`` to the next block's."""
    cached_tokens: int = 0
    """Tokens of the prompt that were found in the prefix cache when it first ran."""
    started: bool = False
    """Whether its first computation was announced."""
    unread: int = 0
    """Tokens after ``token_ids`` that were drawn on the device and that the host does not know yet."""
    row: int = 0
    """Where the device keeps the last of these."""
    left: bool = False
    """Whether the scheduler has forgotten it: what the device still computes of it is nobody's."""

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.token_ids)

    @property
    def length(self) -> int:
        """Tokens that there are, whether the host knows them or not."""
        return len(self.token_ids) + self.unread

    @property
    def pending(self) -> int:
        """Tokens that there are but that are not computed yet; none of a sequence whose last token was drawn."""
        if self.unread and self.drawn >= self.max_tokens:
            return 0
        return self.length - self.computed

    @property
    def cost(self) -> int:
        """Tokens that it may take, 1 at least; of one that goes on after a part of its answer, those that are left."""
        if self.generated:
            return self.max_tokens - self.generated
        return self.prompt_tokens + self.max_tokens

    @property
    def generated(self) -> int:
        """Tokens of the answer that the host knows."""
        return len(self.token_ids) - self.prompt_tokens

    @property
    def drawn(self) -> int:
        """Tokens of the answer that there are."""
        return self.length - self.prompt_tokens
