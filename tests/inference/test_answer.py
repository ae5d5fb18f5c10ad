"""What a reader is told, token by token: text, chunks, log-probabilities."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.answer import LEAST, Answer
from jupyter_streaminfer.inference.detokenizer import ByteLevelDetokenizer, detokenizers
from jupyter_streaminfer.inference.emitter import Emitter
from jupyter_streaminfer.inference.sampler import Draw
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import StreaminferError, TokenLogprobs, Tokens, TopLogprob

from .test_detokenizer import sentence_piece

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


STOPS = st.lists(st.sampled_from([" END", " EN", "é", "ab", "\N{REPLACEMENT CHARACTER}", "b END"]), max_size=2)


@given(
    tokens=st.lists(st.integers(0, 5), max_size=30),
    chunk_tokens=st.integers(1, 4),
    cut=st.integers(0, 30),
    stops=STOPS,
    min_tokens=st.integers(0, 8),
)
def test_it_goes_on_after_what_was_told(
    tokens: list[int], chunk_tokens: int, cut: int, stops: list[str], min_tokens: int
) -> None:
    """From any told event on: with the text that was held back then, told once."""

    def begin() -> Answer:
        emitter = Emitter(ByteLevelDetokenizer(dict(enumerate(PIECES))), stops, min_tokens)
        return Answer("job", emitter, chunk_tokens, str)

    def add_all(answer: Answer, tokens: list[int]) -> list[Tokens]:
        events = []
        for token in tokens:
            if answer.stopped:
                break
            if event := answer.add(token, Draw(token)):
                events.append(event)
        if event := answer.flush():
            events.append(event)
        return [*events, Tokens("job", [], answer.finish())]

    whole = add_all(begin(), tokens)
    told = whole[: min(cut, len(whole) - 1)]
    count = sum(len(event.token_ids) for event in told)
    after = begin()
    after.replay(tokens[:count])
    assert told + add_all(after, tokens[count:]) == whole


@pytest.mark.parametrize("scheme", ["normalizer", "pre_tokenizer"])
def test_it_goes_on_in_the_middle_of_a_character(tmp_path: Path, scheme: str) -> None:
    """Where the decoder looks at the tokens before, and strips the space of a text's first word."""
    tokenizer = sentence_piece(scheme)
    tokenizer.save_pretrained(tmp_path)
    begin_text = detokenizers(Tokenizer(tmp_path, len(tokenizer)))
    tokens = tokenizer.encode("the 🙂 a é, the", add_special_tokens=False)

    def tell_all(answer: Answer, tokens: list[int]) -> str:
        return "".join(event.text for event in tell(answer, tokens)) + answer.finish()

    def begin() -> Answer:
        return Answer("job", Emitter(begin_text(), ["a x"]), 1, str)

    expected = tell_all(begin(), tokens)
    assert "🙂 a é, the" in expected
    for cut in range(len(tokens) + 1):
        before, after = begin(), begin()
        after.replay(tokens[:cut])
        assert "".join(event.text for event in tell(before, tokens[:cut])) + tell_all(after, tokens[cut:]) == expected


def test_nothing_can_have_been_told_after_a_stop_text() -> None:
    build(stops=(" END",)).replay([0, 4])
    with pytest.raises(StreaminferError, match=r"3 tokens were told .* after 2 of them") as caught:
        build(stops=(" END",)).replay([0, 4, 0])
    assert caught.value.field == "delivered"


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
