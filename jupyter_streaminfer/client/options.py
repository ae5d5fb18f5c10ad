"""What `Client.generate` takes beside model and prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TypedDict

from jupyter_streaminfer.protocol import ChatMessage, Deadlines, StreaminferError

Messages = Sequence[ChatMessage | dict[str, str]]

MAX_N = 16
"""Streams that one call may start."""


class GenerateOptions(TypedDict, total=False):
    """The fields of `protocol.Generate`, which explains them, as Python hands them in."""

    messages: Messages | None
    token_ids: Sequence[int] | None
    max_tokens: int | None
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    stop: str | Sequence[str]
    stop_token_ids: Sequence[int]
    min_tokens: int
    logprobs: int | None
    seed: int | None
    ignore_eos: bool
    priority: int
    chunk_tokens: int
    detached: bool
    deadlines: Deadlines | Mapping[str, float] | None
    key: str | None


def checked_n(n: int) -> int:
    """How many streams one call may start; raises `StreaminferError` for any other number."""
    if not isinstance(n, Integral) or not 1 <= n <= MAX_N:
        raise StreaminferError("invalid_request", f"n: a number from 1 to {MAX_N} is needed, found {n!r}.", field="n")
    return n
