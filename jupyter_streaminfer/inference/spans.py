"""From a label for each token to the labelled parts of a text."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

from jupyter_streaminfer.protocol import Span

OUTSIDE = "O"
BEGINS, GOES_ON = set("BSU"), set("IEL")
"""The prefixes of BIO, BIOES and BILOU."""


@dataclass(frozen=True, slots=True)
class Words:
    """Where the words of a text are, in characters and in tokens."""

    text: str
    places: list[tuple[int, int, int]]
    """Of each word its first token, its first character and the one after its last."""

    @classmethod
    def read(cls, text: str, encoding: Any) -> Words:
        """The words that a tokenizer found; a token that is in none is a word by itself."""
        places: list[tuple[int, int, int]] = []
        before: int | None = None
        special = encoding.special_tokens_mask
        for token, ((start, end), word) in enumerate(zip(encoding.offsets, encoding.word_ids, strict=True)):
            if special[token] or start == end:
                continue
            if word is not None and word == before:
                first, begins, _ = places[-1]
                places[-1] = (first, begins, end)
                continue
            before = word
            # Some tokenizers count the space before a word to it.
            while start < end and text[start].isspace():
                start += 1
            if start < end:
                places.append((token, start, end))
            else:
                before = None
        return cls(text, places)


def spans(words: Words, found: Seq[int], sure: Seq[float], labels: Seq[str]) -> list[Span]:
    """The words that have a label, those of one label merged: ``found`` and ``sure`` are each token's.

    With prefixes (``B-PER``, ``I-PER``) a part begins where they say; without, where another label is. A part's
    confidence is the mean of its words'.
    """
    merged: list[tuple[int, int, str, list[float]]] = []
    label_before = OUTSIDE
    for token, start, end in words.places:
        prefix, label = _split(labels[found[token]])
        if label == OUTSIDE:
            label_before = OUTSIDE
            continue
        if label == label_before and prefix not in BEGINS:
            first, _, _, scores = merged[-1]
            merged[-1] = (first, end, label, [*scores, sure[token]])
        else:
            merged.append((start, end, label, [sure[token]]))
        label_before = label
    return [
        Span(start, end, words.text[start:end], label, sum(scores) / len(scores))
        for start, end, label, scores in merged
    ]


def _split(label: str) -> tuple[str, str]:
    """A label's prefix and the rest; no prefix where it has none."""
    if len(label) > 2 and label[1] in "-_" and label[0] in BEGINS | GOES_ON:
        return label[0], label[2:]
    return "", label
