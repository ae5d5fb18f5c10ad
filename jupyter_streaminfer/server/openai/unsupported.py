"""What would change an answer at OpenAI and is not done here: refused by name, unless it asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping

from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.server.openai.requests import ChatBody, CompletionBody, Message

Accepted = Mapping[str, tuple[object, ...]]
"""Fields by name, each with the values that ask for nothing; null always does."""

_COMPLETION: Accepted = {"echo": (False,), "suffix": ("",)}
_CHAT: Accepted = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}
_MESSAGE: Accepted = {"audio": (), "function_call": (), "name": (), "refusal": (), "tool_calls": ([],)}


def refuse_unsupported(body: CompletionBody | ChatBody) -> None:
    """Raise `StreaminferError` for the first such field of a request."""
    if body.stream_options is not None and not body.stream:
        raise refused("stream_options", "it is for streams alone. Set stream to true, or leave it out.")
    if isinstance(body, ChatBody):
        _refuse(body, _CHAT)
        for index, message in enumerate(body.messages):
            _refuse(message, _MESSAGE, f"messages[{index}].")
    else:
        _refuse(body, _COMPLETION)
        if body.best_of not in (None, body.n or 1):
            raise refused("best_of", "choosing among more answers than n is not supported. Leave it out.")


def _refuse(part: CompletionBody | ChatBody | Message, fields: Accepted, prefix: str = "") -> None:
    for name, accepted in fields.items():
        value = getattr(part, name)
        if value is not None and value not in accepted:
            raise refused(prefix + name, "not supported here. Leave it out.")


def refused(param: str, reason: str) -> StreaminferError:
    """The refusal of one parameter."""
    return StreaminferError("invalid_request", f"{param}: {reason}", field=param)
