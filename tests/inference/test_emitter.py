"""All text before the first stop text is shown, nothing of it, and each character as early as it may be."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.detokenizer import REPLACEMENT, ByteLevelDetokenizer
from jupyter_streaminfer.inference.emitter import Emitter

STOPS = st.lists(st.text("ab", min_size=1, max_size=5) | st.text("abc", min_size=1, max_size=3), max_size=4)
PIECES = st.lists(st.text("abc", max_size=4), max_size=12)


def emitter_of(pieces: list[bytes], stops: list[str], min_tokens: int = 0) -> Emitter:
    """Token ``i`` is ``pieces[i]``."""
    return Emitter(ByteLevelDetokenizer(dict(enumerate(pieces))), stops, min_tokens)


def emit(pieces: list[str], stops: list[str], min_tokens: int = 0) -> tuple[list[str], str, Emitter]:
    """What is shown with each token up to the stop, and in the end."""
    emitter = emitter_of([piece.encode() for piece in pieces], stops, min_tokens)
    shown = []
    for token in range(len(pieces)):
        shown.append(emitter.add(token))
        if emitter.stopped:
            break
    return shown, emitter.finish(), emitter


def cut(text: str, stops: list[str]) -> tuple[str, bool]:
    """``text`` before the stop that is the first to be complete, the longest of several; and whether one is."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


def certain(text: str, stops: list[str]) -> str:
    """The part of ``text`` that is shown however it goes on."""
    shown, stopped = cut(text, stops)
    open_from = (start for start in range(len(text)) if any(stop.startswith(text[start:]) for stop in stops))
    return shown if stopped else text[: next(open_from, len(text))]


@given(pieces=PIECES, stops=STOPS)
@example(pieces=["ab", "ab", "c"], stops=["ababx", "babc"])
@example(pieces=["aba", "b"], stops=["ab", "abab", "b"])
def test_shown_is_the_text_before_the_first_stop(pieces: list[str], stops: list[str]) -> None:
    shown, rest, emitter = emit(pieces, stops)
    assert ("".join(shown) + rest, emitter.stopped) == cut("".join(pieces), stops)


@given(pieces=PIECES, stops=STOPS)
def test_all_that_is_certain_is_shown_at_once(pieces: list[str], stops: list[str]) -> None:
    shown, _, _ = emit(pieces, stops)
    for count in range(1, len(shown) + 1):
        assert "".join(shown[:count]) == certain("".join(pieces[:count]), stops)


@given(pieces=PIECES, stops=STOPS, min_tokens=st.integers(0, 6))
def test_the_first_tokens_are_shown_and_not_searched(pieces: list[str], stops: list[str], min_tokens: int) -> None:
    shown, rest, emitter = emit(pieces, stops, min_tokens)
    first, others = pieces[:min_tokens], pieces[min_tokens:]
    assert shown[: len(first)] == first
    text, stopped = cut("".join(others), stops)
    assert ("".join(shown) + rest, emitter.stopped) == ("".join(first) + text, stopped)


@given(
    text=st.text("aé你🙂", max_size=12),
    stops=st.lists(st.text("aé你🙂", min_size=1, max_size=3), max_size=3),
    cuts=st.sets(st.integers(1, 47)),
)
def test_characters_may_be_split_over_tokens(text: str, stops: list[str], cuts: set[int]) -> None:
    encoded = text.encode()
    edges = [0, *sorted(cut for cut in cuts if cut < len(encoded)), len(encoded)]
    pieces = [encoded[start:end] for start, end in itertools.pairwise(edges)]
    emitter = emitter_of(pieces, stops)
    shown = ""
    for token in range(len(pieces)):
        shown += emitter.add(token)
        if emitter.stopped:
            break
    assert (shown + emitter.finish(), emitter.stopped) == cut(text, stops)


def test_a_stop_split_over_tokens_is_never_shown() -> None:
    shown, rest, emitter = emit(["Hello", "\nUs", "er", ": hi"], ["\nUser:"])
    assert (shown, rest, emitter.stopped) == (["Hello", "", "", ""], "", True)


def test_what_cannot_become_a_stop_is_released_with_the_token_that_says_so() -> None:
    shown, rest, emitter = emit(["a\n", "User", "s", "\n"], ["\nUser:"])
    assert (shown, rest, emitter.stopped) == (["a", "", "\nUsers", ""], "\n", False)


def test_a_stop_that_lies_in_the_first_tokens_in_part_is_none() -> None:
    shown, rest, emitter = emit(["x", "E", "ND", "E", "ND"], ["END"], min_tokens=2)
    assert (shown, rest, emitter.stopped) == (["x", "E", "ND", "", ""], "", True)


def test_a_broken_character_ends_the_text_and_may_complete_a_stop() -> None:
    emitter = emitter_of([b"a", b"\xe4"], ["x"])
    assert [emitter.add(0), emitter.add(1), emitter.finish()] == ["a", "", REPLACEMENT]
    emitter = emitter_of([b"a", b"\xe4"], ["a" + REPLACEMENT])
    assert [emitter.add(0), emitter.add(1), emitter.finish()] == ["", "", ""]
    assert emitter.stopped


def test_many_long_stops_are_found_in_linear_time() -> None:
    stops = ["a" * length + "b" for length in range(240, 256)]
    shown, rest, emitter = emit(["a" * 1000] * 20 + ["b"], stops)
    assert ("".join(shown) + rest, emitter.stopped) == ("a" * (20_000 - 255), True)
