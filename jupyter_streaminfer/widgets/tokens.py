"""How likely a stream's tokens were, as a page shows it and a notebook keeps it.

The TypeScript twin is ``labextension/src/stream/confidence.ts``.
"""

from __future__ import annotations

import msgspec

from jupyter_streaminfer.client.received import Received
from jupyter_streaminfer.protocol import Delta

KEPT_TOKENS = 1000
"""Of a stream at most so many,"""
KEPT_TOP = 5
"""and so many others for each."""


class Alternative(msgspec.Struct, frozen=True):
    """A token that was likely at a place."""

    text: str
    logprob: float


class Token(msgspec.Struct, frozen=True):
    """One token of the text."""

    text: str
    """What it brought to the stream's text; less than the token alone where that ends inside a character."""
    logprob: float | None
    """Natural logarithm; None where it is not known."""
    top: list[Alternative]
    """The likeliest first."""

    @property
    def size(self) -> int:
        """About how many characters it has as JSON."""
        return 40 + len(self.text) + sum(30 + len(each.text) for each in self.top)


def tokens_of(stream: Received) -> list[Token] | None:
    """The first tokens of what is shown of a stream, whose texts are the beginning of its text; None without any."""
    before = "" if stream.previous is None else stream.previous.full_text
    if stream.snapshot is not None:
        before += stream.snapshot.text
    tokens = [Token(before, None, [])] if before else []
    known = False
    for piece in stream.pieces:
        if not isinstance(piece, Delta) or len(tokens) >= KEPT_TOKENS:
            break
        known = known or bool(piece.logprobs)
        tokens += _of_delta(piece)
    return tokens[:KEPT_TOKENS] if known else None


def _of_delta(delta: Delta) -> list[Token]:
    """Whose texts together are the delta's."""
    if not delta.logprobs:
        return [Token(delta.text, None, [])] if delta.text else []
    tokens: list[Token] = []
    rest = delta.text
    for index, token in enumerate(delta.logprobs):
        own = token.text if rest.startswith(token.text) else ""
        own = rest if index == len(delta.logprobs) - 1 else own
        rest = rest[len(own) :]
        top = [Alternative(each.text, round(each.logprob, 4)) for each in token.top[:KEPT_TOP]]
        tokens.append(Token(own, round(token.logprob, 4), top))
    return tokens
