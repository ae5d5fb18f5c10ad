"""The bodies that this door takes. Ranges are not repeated here: `protocol.Generate` has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from jupyter_streaminfer.protocol import MAX_CHAT_MESSAGES, MAX_PROMPT_CHARACTERS, MAX_STOPS

MAX_CHOICES = 128
"""Choices that one request may ask for: its prompts times ``n``."""

Texts = Annotated[list[str], Meta(max_length=MAX_STOPS)]


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream is to have beside the tokens."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Padding against observers of an encrypted connection's sizes; none is sent."""


class Body(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What both kinds of completions have. Null is the same as absent."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    stop: str | Texts | None = None
    seed: int | None = None

    # What vLLM adds, under its names and with its meanings.
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    """-1 and 0 are no limit."""
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[int] | None = None
    priority: int | None = None
    """Lower ones go first: the opposite of `Generate.priority`."""

    # What clients send and no answer depends on.
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    parallel_tool_calls: Any = None


class CompletionBody(Body, frozen=True, kw_only=True):
    """``POST completions``."""

    prompt: str | Annotated[list[str | int | list[int]], Meta(max_length=MAX_PROMPT_CHARACTERS)]
    """A text, the token ids of one, or a list of either."""
    logprobs: int | None = None

    best_of: Any = None
    echo: Any = None
    suffix: Any = None


class TextPart(Struct, frozen=True, forbid_unknown_fields=True):
    """Another kind of part has another ``type``, and is refused by it."""

    type: Literal["text"]
    text: str


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    name: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None
    annotations: Any = None


class ChatBody(Body, frozen=True, kw_only=True):
    """``POST chat/completions``."""

    messages: Annotated[list[Message], Meta(max_length=MAX_CHAT_MESSAGES)]
    max_completion_tokens: int | None = None
    """The newer name of ``max_tokens``; it counts where both are given."""
    logprobs: bool | None = None
    top_logprobs: int | None = None

    audio: Any = None
    function_call: Any = None
    functions: Any = None
    modalities: Any = None
    moderation: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    response_format: Any = None
    tool_choice: Any = None
    tools: Any = None
    verbosity: Any = None
    web_search_options: Any = None


completion_body = msgspec.json.Decoder(CompletionBody)
chat_body = msgspec.json.Decoder(ChatBody)
