"""How likely tokens were, as a page gets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.widgets import TokenStream
from jupyter_streaminfer.widgets.snapshot import Snapshot
from jupyter_streaminfer.widgets.tokens import KEPT_TOKENS, KEPT_TOP, tokens_of


@pytest.fixture(scope="module")
def client(long_llama: Path) -> Iterator[Client]:
    """One for all these tests: none of them minds the streams of the others."""
    with embedded() as client:
        client.load("tiny", long_llama)
        yield client


def test_their_texts_are_the_streams_text(client: Client) -> None:
    stream = client.generate("tiny", "The", max_tokens=60, seed=1, ignore_eos=True, logprobs=8, chunk_tokens=4).wait()
    tokens = tokens_of(stream)
    assert tokens is not None
    assert "".join(token.text for token in tokens) == stream.text
    assert [token.logprob for token in tokens] == pytest.approx([each.logprob for each in stream.logprobs], abs=1e-4)
    assert {len(token.top) for token in tokens} == {KEPT_TOP}
    widget = TokenStream(stream)
    assert [token["text"] for token in widget.tokens] == [token.text for token in tokens]
    assert Snapshot.of(stream).size > len(stream.text)


def test_where_nobody_asked_there_are_none(client: Client) -> None:
    stream = client.generate("tiny", "The", max_tokens=4, seed=1, ignore_eos=True).wait()
    assert tokens_of(stream) is None
    assert TokenStream(stream).tokens is None


def test_they_are_bounded(client: Client) -> None:
    stream = client.generate("tiny", "The", max_tokens=KEPT_TOKENS + 40, seed=1, ignore_eos=True, logprobs=0).wait()
    tokens = tokens_of(stream)
    assert tokens is not None
    assert len(tokens) == KEPT_TOKENS
    assert stream.text.startswith("".join(token.text for token in tokens))


def test_what_a_stream_goes_on_after_is_text_without_a_probability(client: Client) -> None:
    part = client.generate(
        "tiny", "The", max_tokens=4000, ignore_eos=True, seed=1, logprobs=1, deadlines={"total_ms": 100}
    ).wait()
    rest = part.resume()
    rest.cancel()
    tokens = tokens_of(rest)
    if rest.token_ids and part.text:
        assert tokens is not None
        assert (tokens[0].text, tokens[0].logprob) == (part.text, None)
        assert "".join(token.text for token in tokens[:KEPT_TOKENS]) in rest.full_text
