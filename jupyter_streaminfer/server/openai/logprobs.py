"""Log-probabilities in the two forms that OpenAI has for them."""

from __future__ import annotations

from typing import Any

from jupyter_streaminfer.protocol import TokenLogprobs, TopLogprob

UNLIKELY = -9999.0
"""What stands for the logarithm of nothing, which JSON cannot say."""


def chat_logprobs(tokens: list[TokenLogprobs]) -> dict[str, Any]:
    """``chat/completions``: an object a token."""
    content = [{**_token(token), "top_logprobs": [_token(top) for top in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


def _token(token: TokenLogprobs | TopLogprob) -> dict[str, Any]:
    # The bytes of a part of a character are not known here.
    known = "\ufffd" not in token.text
    return {
        "token": token.text,
        "logprob": max(token.logprob, UNLIKELY),
        "bytes": list(token.text.encode()) if known else None,
    }


def completion_logprobs(tokens: list[TokenLogprobs], offset: int) -> dict[str, Any]:
    """``completions``: a column a property; ``offset`` is where in the answer the first token's text begins."""
    offsets: list[int] = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [max(token.logprob, UNLIKELY) for token in tokens],
        "top_logprobs": [_likeliest(token) for token in tokens],
        "text_offset": offsets,
    }


def _likeliest(token: TokenLogprobs) -> dict[str, float]:
    """The token that was chosen is among them, as it is at OpenAI."""
    return {top.text: max(top.logprob, UNLIKELY) for top in token.top} | {token.text: max(token.logprob, UNLIKELY)}
