"""A body of this door as requests to the engine: one for each choice."""

from __future__ import annotations

import re
from typing import Any

from msgspec import structs

from jupyter_streaminfer.protocol import MAX_PROMPT_CHARACTERS, ChatMessage, Generate, StreaminferError, copies
from jupyter_streaminfer.server.openai.requests import MAX_CHOICES, Body, ChatBody, CompletionBody, Message
from jupyter_streaminfer.server.openai.unsupported import refuse_unsupported, refused

_SAME = (
    "max_tokens",
    "temperature",
    "top_p",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "min_tokens",
    "ignore_eos",
    "stop_token_ids",
)
"""Fields that mean the same here and in a `Generate`."""
_SEEDS = 2**63
_TOKEN_IDS = re.compile(r"^token_ids\b")


def completion_requests(body: CompletionBody) -> list[Generate]:
    """The choices of every prompt, prompt by prompt; raises `StreaminferError`."""
    refuse_unsupported(body)
    given = _prompts(body.prompt)
    n = body.n or 1
    if len(given) * n > MAX_CHOICES:
        param = "prompt" if len(given) > MAX_CHOICES else "n"
        raise refused(param, f"{len(given)} prompts times n = {n} are more than {MAX_CHOICES} choices. Ask for fewer.")
    if n * sum(len(fields.get("token_ids", ())) for fields in given) > MAX_PROMPT_CHARACTERS:
        raise refused("prompt", f"the choices' prompts have more than {MAX_PROMPT_CHARACTERS} token ids together.")
    request = _request(body, body.logprobs)
    return [choice for fields in given for choice in copies(structs.replace(request, **fields), n)]


def chat_requests(body: ChatBody) -> list[Generate]:
    """The choices of a conversation; raises `StreaminferError`."""
    refuse_unsupported(body)
    if body.top_logprobs and not body.logprobs:
        raise refused("top_logprobs", "it needs logprobs. Set logprobs to true, or leave it out.")
    request = _request(body, (body.top_logprobs or 0) if body.logprobs else None)
    changes: dict[str, Any] = {"messages": [_message(message) for message in body.messages]}
    if body.max_completion_tokens is not None:
        changes["max_tokens"] = body.max_completion_tokens
    return copies(structs.replace(request, **changes), body.n or 1)


def renamed(error: StreaminferError, body: Body) -> StreaminferError:
    """The engine's refusal with its field under the name that it has in the body."""
    field = error.field
    if field is None:
        return error
    field = _TOKEN_IDS.sub("prompt", field)
    if isinstance(body, ChatBody):
        if field == "logprobs":
            field = "top_logprobs"
        elif field == "max_tokens" and body.max_completion_tokens is not None:
            field = "max_completion_tokens"
    return StreaminferError.of(structs.replace(error.info, field=field))


def _request(body: Body, logprobs: int | None) -> Generate:
    fields = {name: value for name in _SAME if (value := getattr(body, name)) is not None}
    if body.stop is not None:
        fields["stop"] = [body.stop] if isinstance(body.stop, str) else body.stop
    if body.seed is not None:
        # Negative ones are allowed there.
        fields["seed"] = body.seed % _SEEDS
    return Generate(
        id="openai",
        model=body.model,
        logprobs=logprobs,
        top_k=max(0, body.top_k or 0),
        priority=-(body.priority or 0),
        **fields,
    )


def _prompts(prompt: str | list[str | int | list[int]]) -> list[dict[str, Any]]:
    """Each prompt as the field of a `Generate` that takes it."""
    if isinstance(prompt, str):
        return [{"prompt": prompt}]
    kinds = {type(each) for each in prompt}
    if kinds == {str}:
        return [{"prompt": text} for text in prompt]
    if kinds == {int}:
        return [{"token_ids": prompt}]
    if kinds == {list}:
        return [{"token_ids": token_ids} for token_ids in prompt]
    raise refused("prompt", "give a text, a list of token ids, or a list of several of one of these.")


def _message(message: Message) -> ChatMessage:
    role = "system" if message.role == "developer" else message.role
    content = message.content
    text = content if isinstance(content, str) else "\n".join(part.text for part in content)
    return ChatMessage(role, text)
