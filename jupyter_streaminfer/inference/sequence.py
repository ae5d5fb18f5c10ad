"""One generation under way: its tokens, how far they are computed, and how it samples."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; the fields mean what they mean in `protocol.Generate`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(slots=True, eq=False)
class Sequence:
    """``token_ids`` are the prompt and what was generated; the first ``computed`` of them are in the KV cache."""

    job: str
    token_ids: list[int]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    ignore_eos: bool = False
    prompt_tokens: int = field(init=False)
    computed: int = 0
    slot: int | None = None
    """Its place in the KV cache while it runs."""
    started: bool = False
    """Whether its first computation was announced."""

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.token_ids)

    @property
    def pending(self) -> int:
        """Tokens that are known but not computed yet."""
        return len(self.token_ids) - self.computed

    @property
    def generated(self) -> int:
        return len(self.token_ids) - self.prompt_tokens
