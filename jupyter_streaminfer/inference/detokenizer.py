"""Token ids back to text, one at a time, never showing a broken character and never losing a space.

Special tokens are skipped. Two kinds, chosen by the decoder that ``tokenizer.json`` declares: byte-level
vocabularies, whose tokens are bytes and need no look at their neighbours, and all others (SentencePiece with
its byte fallback), which are decoded again in a window of the last tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from tokenizers import Tokenizer as Backend

from jupyter_streaminfer.inference.tokenizer import Tokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MAX_CHARACTER_TOKENS = 4
"""A character has at most four bytes, so four tokens at most; what is broken after more stays broken."""


class Detokenizer(Protocol):
    """The text of one sequence as it grows."""

    def add(self, token_id: int) -> str:
        """The text that this token completes; empty inside a character."""

    def finish(self) -> str:
        """What is still held: a character that never was completed, as U+FFFD."""


class ByteLevelDetokenizer:
    """For byte-level BPE: the concatenation equals the tokenizer's own decode of all tokens, for any tokens."""

    def __init__(self, pieces: dict[int, bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token_id: int) -> str:
        return self._decoder.decode(self._pieces.get(token_id, b""))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class WindowDetokenizer:
    """For any decoder: decodes the tokens since the last but one emission, and emits what is new.

    The window always begins with tokens whose text is out already, so a leading space that the decoder strips at the
    start of a text is not stripped here. Equal to the decode of all tokens at once wherever that is valid text.
    """

    def __init__(self, backend: Backend, special_ids: frozenset[int]) -> None:
        self._backend = backend
        self._special_ids = special_ids
        self._window: list[int] = []
        self._shown = 0
        """How many tokens of the window are out."""
        self._shown_text = ""
        self._decoded = ""

    def add(self, token_id: int) -> str:
        if token_id in self._special_ids:
            return ""
        self._window.append(token_id)
        self._decoded = self._backend.decode(self._window, skip_special_tokens=False)
        pending = len(self._window) - self._shown
        if self._decoded.endswith(REPLACEMENT) and pending <= MAX_CHARACTER_TOKENS:
            return ""
        fresh = self.finish()
        if fresh:
            self._window = self._window[self._shown :]
            self._shown = len(self._window)
            self._shown_text = self._backend.decode(self._window, skip_special_tokens=False)
            self._decoded = self._shown_text
        return fresh

    def finish(self) -> str:
        return self._decoded[len(self._shown_text) :]


def detokenizers(tokenizer: Tokenizer) -> Callable[[], Detokenizer]:
    """What makes a detokenizer for each sequence of a model."""
    backend = tokenizer.backend
    special_ids = frozenset(_special_tokens(backend))
    if _is_byte_level(tokenizer):
        pieces = _byte_pieces(backend, special_ids)
        return lambda: ByteLevelDetokenizer(pieces)
    return lambda: WindowDetokenizer(backend, special_ids)


def token_texts(tokenizer: Tokenizer) -> Callable[[int], str]:
    """What gives the text of a single token as it reads inside a text, for log-probabilities.

    U+FFFD stands for what is no whole character. A special token, which no answer shows, gives its name; an id that
    the tokenizer does not have gives nothing.
    """
    backend = tokenizer.backend
    special_tokens = _special_tokens(backend)
    byte_pieces = _byte_pieces(backend, frozenset(special_tokens)) if _is_byte_level(tokenizer) else None

    @cache
    def text(token_id: int) -> str:
        if token_id in special_tokens:
            return special_tokens[token_id]
        if byte_pieces is not None:
            return byte_pieces.get(token_id, b"").decode(errors="replace")
        # After itself: a decoder may strip the space before a text's first word.
        once, twice = (backend.decode([token_id] * times, skip_special_tokens=False) for times in (1, 2))
        return twice[len(once) :]

    return text


def _special_tokens(backend: Backend) -> dict[int, str]:
    added = backend.get_added_tokens_decoder()
    return {identifier: token.content for identifier, token in added.items() if token.special}


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    decoder = tokenizer.declared.get("decoder")
    return isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"


def _byte_pieces(backend: Backend, special_ids: frozenset[int]) -> dict[int, bytes]:
    """The bytes of every token that is shown."""
    alphabet = _byte_alphabet()
    pieces: dict[int, bytes] = {}
    for piece, identifier in backend.get_vocab(with_added_tokens=True).items():
        if identifier not in special_ids:
            known = all(character in alphabet for character in piece)
            pieces[identifier] = bytes(alphabet[c] for c in piece) if known else piece.encode()
    return pieces


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte: itself where it is printable, else the next free one from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others: list[Any] = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
