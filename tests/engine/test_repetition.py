"""Repetitions at the end of a sequence of tokens, against what a count of pieces says."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.repetition import MAX_PIECE, MIN_TIMES, MIN_TOKENS, TAIL, repeated

TOKENS = st.lists(st.integers(0, 2), max_size=80)


def by_hand(tokens: list[int]) -> int:
    for piece in range(1, MAX_PIECE + 1):
        times = max(MIN_TIMES, -(-MIN_TOKENS // piece))
        if len(tokens) >= piece * times and tokens[-piece * times :] == tokens[-piece:] * times:
            return piece
    return 0


@given(TOKENS, TOKENS.filter(bool), st.integers(0, 60), TOKENS)
def test_it_is_what_a_count_of_pieces_says(before: list[int], piece: list[int], times: int, after: list[int]) -> None:
    for rest in ([], after, piece[: len(piece) // 2]):
        tokens = before + piece * times + rest
        assert repeated(array("q", tokens)) == by_hand(tokens)


@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=MAX_PIECE, unique=True), st.integers(0, 50_000))
def test_it_begins_with_the_last_token_that_it_takes(piece: list[int], other: int) -> None:
    enough = piece * max(MIN_TIMES, -(-MIN_TOKENS // len(piece)))
    assert repeated(array("q", enough)) == len(piece)
    assert repeated(array("q", enough[1:])) == 0
    if other not in piece:
        assert repeated(array("q", [*enough, other])) == 0


def test_only_the_tail_counts() -> None:
    piece = list(range(MAX_PIECE))
    assert repeated(array("q", [7] * 5000 + piece * MIN_TIMES)) == MAX_PIECE
    assert len(piece * MIN_TIMES) == TAIL
    assert repeated(array("q", list(range(MAX_PIECE + 1)) * 10)) == 0, "a longer piece is text"
