"""Whether two versions said the same about the same rows."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from operator import sub
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from jupyter_streaminfer.protocol import OutputKind, Prediction, Span

Row = TypeVar("Row")


class Comparison(Struct, frozen=True):
    """Of the answers to one request."""

    rows: int
    alike: int
    largest: float
    """Difference between two numbers at the same place."""


def compare(kind: OutputKind, one: bytes, other: bytes, tolerance: float) -> Comparison:
    """Compare the outputs of two versions, row by row; raises `msgspec.MsgspecError` where they are not of that kind.

    Classes are alike where the surest one is, spans where all places and labels are, numbers within ``tolerance``;
    anything else has to be equal, with the numbers in it within ``tolerance``.
    """
    if one == other:
        rows = len(_split(one))
        return Comparison(rows, rows, 0.0)
    match kind:
        case "classes":
            found = _compare(_classes(one), _classes(other), _between_predictions)
        case "spans":
            found = _compare(_spans(one), _spans(other), _between_spans)
        case _:
            found = _compare(_values(one), _values(other), lambda a, b: _between_values(a, b, tolerance))
    return found


_split = msgspec.json.Decoder(list[Raw]).decode
_classes = msgspec.json.Decoder(list[Prediction]).decode
_spans = msgspec.json.Decoder(list[list[Span]]).decode
_values = msgspec.json.Decoder(list[Any]).decode


def _compare(one: list[Row], other: list[Row], between: Callable[[Row, Row], tuple[bool, float]]) -> Comparison:
    alike, largest = 0, 0.0
    for pair in zip(one, other, strict=False):
        same, difference = between(*pair)
        alike += same
        largest = max(largest, difference)
    return Comparison(max(len(one), len(other)), alike, largest)


def _between_predictions(one: Prediction, other: Prediction) -> tuple[bool, float]:
    confidences = {score.label: score.confidence for score in other.scores}
    shared = [score for score in one.scores if score.label in confidences]
    difference = max((abs(score.confidence - confidences[score.label]) for score in shared), default=0.0)
    return one.label == other.label, difference


def _between_spans(one: list[Span], other: list[Span]) -> tuple[bool, float]:
    same = [(span.start, span.end, span.label) for span in one] == [
        (span.start, span.end, span.label) for span in other
    ]
    if not same:
        return False, 0.0
    return True, max((abs(a.confidence - b.confidence) for a, b in zip(one, other, strict=True)), default=0.0)


def _between_values(one: Any, other: Any, tolerance: float) -> tuple[bool, float]:
    """Without recursion: how deep values are nested is not known."""
    largest, pairs, same = 0.0, [(one, other)], True
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            try:
                largest = max(largest, *map(abs, map(sub, a, b)), 0.0)
            except (TypeError, OverflowError):  # no two lists of numbers
                pairs.extend(zip(a, b, strict=True))
        elif isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            pairs.extend((a[key], b[key]) for key in a)
        elif isinstance(a, int | float) and isinstance(b, int | float):
            largest = max(largest, _distance(a, b))
        else:
            same = same and a == b
    return same and largest <= tolerance, min(largest, sys.float_info.max)


def _distance(a: float, b: float) -> float:
    try:
        return float(abs(a - b))
    except OverflowError:
        return math.inf
