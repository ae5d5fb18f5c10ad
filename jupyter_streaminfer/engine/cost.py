"""What a request may take, reckoned before anything is tokenised."""

from __future__ import annotations

from jupyter_streaminfer.protocol import DEFAULT_MAX_TOKENS, Embed, Generate, Predict, Run, Score, Text

CHARACTERS_PER_TOKEN = 4
PREDICT_BYTES = 64
"""Of the JSON text of the inputs of a prediction or a run, which its worker reads, so many count as one token."""


def cost(request: Generate | Run | Predict | Embed | Score) -> int:
    """Prompt and new tokens."""
    match request:
        case Predict() | Run():
            return len(request.inputs) // PREDICT_BYTES + 1
        case Generate():
            return _prompt(request) + (request.max_tokens or DEFAULT_MAX_TOKENS)
        case Embed():
            return sum(map(_tokens, request.inputs))
        case Score():
            texts = request.continuations
            return sum(map(_tokens, texts)) + len(texts) * _tokens(request.prompt)


def _prompt(request: Generate) -> int:
    if request.messages is not None:
        return sum(_tokens(message.content) for message in request.messages)
    return _tokens(request.token_ids or request.prompt or "")


def _tokens(text: Text) -> int:
    return len(text) // CHARACTERS_PER_TOKEN + 1 if isinstance(text, str) else len(text)
