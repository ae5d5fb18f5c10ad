"""What a reader is told, token by token: text, chunks, log-probabilities."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.answer import LEAST, Answer
from jupyter_streaminfer.inference.detokenizer import ByteLevelDetokenizer
from jupyter_streaminfer.inference.emitter import Emitter
from jupyter_streaminfer.inference.sampler import Draw
from jupyter_streaminfer.protocol import TokenLogprobs, Tokens, TopLogprob

PIECES = [b"a", b"b", b"\xc3", b"\xa9", b" END", b" EN"]


def build(chunk_tokens: int = 1, stops: tuple[str, ...] = ()) -> Answer:
    emitter = Emitter(ByteLevelDetokenizer(dict(enumerate(PIECES))), stops)
    return Answer("job", emitter, chunk_tokens, lambda token: f"<{token}>")


def tell(answer: Answer, tokens: list[int]) -> list[Tokens]:
    """All events that these tokens bring, the last with what was gathered."""
    events = [answer.add(token, Draw(token)) for token in tokens]
    return [event for event in [*events, answer.flush()] if event is not None]


@given(tokens=st.lists(st.integers(0, 3), max_size=30), chunk_tokens=st.integers(1, 8))
def test_chunks_hold_what_single_tokens_do(tokens: list[int], chunk_tokens: int) -> None:
    single, chunked = build(), build(chunk_tokens)
    every, chunks = tell(single, tokens), tell(chunked, tokens)
    assert [len(event.token_ids) for event in every] == [1] * len(tokens)
    sizes = [len(event.token_ids) for event in chunks]
    assert all(size == chunk_tokens for size in sizes[:-1])
    assert all(0 < size <= chunk_tokens for size in sizes)
    assert [token for event in chunks for token in event.token_ids] == tokens
    assert "".join(event.text for event in chunks) == "".join(event.text for event in every)
    assert chunked.finish() == single.finish()


def test_half_a_character_is_told_in_the_end() -> None:
    answer = build()
    assert tell(answer, [0, 2]) == [Tokens("job", [0], "a"), Tokens("job", [2], "")]
    assert answer.finish() == "\N{REPLACEMENT CHARACTER}"


def test_what_a_stop_text_may_begin_with_is_told_in_the_end() -> None:
    answer = build(stops=(" END",))
    assert tell(answer, [0, 5]) == [Tokens("job", [0], "a"), Tokens("job", [5], "")]
    assert (answer.stopped, answer.finish()) == (False, " EN")


def test_a_stop_text_is_noticed_in_the_middle_of_a_chunk() -> None:
    answer = build(chunk_tokens=10, stops=(" END",))
    assert answer.add(0, Draw(0)) is None
    assert not answer.stopped
    assert answer.add(4, Draw(4)) is None
    assert answer.stopped
    assert (answer.flush(), answer.finish()) == (Tokens("job", [0, 4], "a"), "")


def test_log_probabilities_go_with_their_tokens() -> None:
    answer = build(chunk_tokens=2)
    assert answer.add(0, Draw(0, -0.5, [(1, -0.25), (0, -0.5)])) is None
    assert answer.add(1, Draw(1, -2.0, [])) == Tokens(
        "job",
        [0, 1],
        "ab",
        [
            TokenLogprobs(0, "<0>", -0.5, [TopLogprob(1, "<1>", -0.25), TopLogprob(0, "<0>", -0.5)]),
            TokenLogprobs(1, "<1>", -2.0, []),
        ],
    )
    assert answer.flush() is None
    assert answer.add(0, Draw(0)) is None
    assert answer.flush() == Tokens("job", [0], "a", None)


def test_minus_infinity_is_a_number_that_json_knows() -> None:
    event = build().add(0, Draw(0, -math.inf, [(1, 0.0), (0, -math.inf)]))
    assert event is not None
    assert event.logprobs == [TokenLogprobs(0, "<0>", LEAST, [TopLogprob(1, "<1>", 0.0), TopLogprob(0, "<0>", LEAST)])]
