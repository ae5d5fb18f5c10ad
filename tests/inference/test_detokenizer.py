"""Incremental text equals what transformers makes of all tokens, and no character is ever shown broken."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from jupyter_streaminfer.inference.detokenizer import REPLACEMENT, Detokenizer, detokenizers, token_texts
from jupyter_streaminfer.inference.tokenizer import Tokenizer as ModelTokenizer

from .conftest import build_tokenizer


def sentence_piece(scheme: str) -> PreTrainedTokenizerFast:
    """A SentencePiece-like vocabulary with byte fallback, as Llama 2 has it."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "▁the", "▁a", "the", "a", "b", "c", ".", ",", "▁▁", "é", "\n", "▁b", "▁你"]
    tokenizer = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    if scheme == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False
    )


def word_piece() -> PreTrainedTokenizerFast:
    """A WordPiece vocabulary, as BERT has it: the decoder puts spaces between words and tidies up before dots."""
    words = [
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "un",
        "##aff",
        "##able",
        "the",
        "é",
        "##é",
        "你",
        ".",
        ",",
        "!",
        "'",
        "##s",
        "a",
    ]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


class Pair(NamedTuple):
    """The same tokenizer, read by us and by transformers."""

    ours: ModelTokenizer
    theirs: PreTrainedTokenizerFast

    def encode(self, text: str) -> list[int]:
        return self.ours.encode(text)

    def detokenizer(self) -> Detokenizer:
        return detokenizers(self.ours)()

    def whole(self, ids: list[int]) -> str:
        text: str = self.theirs.decode(ids, skip_special_tokens=True)
        return text

    def token(self, piece: str) -> int:
        return self.ours.backend.get_vocab()[piece]


def load(tokenizer: PreTrainedTokenizerFast, folder: Path) -> Pair:
    tokenizer.save_pretrained(folder)
    return Pair(ModelTokenizer(folder, 10_000), PreTrainedTokenizerFast.from_pretrained(folder))


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([AddedToken("<tool>", special=False), AddedToken("日本", special=False)])
    return load(tokenizer, tmp_path_factory.mktemp("byte_level"))


@pytest.fixture(scope="module", params=["normalizer", "metaspace"])
def pieces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load(sentence_piece(request.param), tmp_path_factory.mktemp("pieces"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load(word_piece(), tmp_path_factory.mktemp("words"))


def stream(detokenizer: Detokenizer, ids: list[int]) -> list[str]:
    return [*(detokenizer.add(identifier) for identifier in ids), detokenizer.finish()]


@given(ids=st.lists(st.integers(0, 321), max_size=60))
def test_byte_level_equals_the_whole_decode_for_any_tokens(byte_level: Pair, ids: list[int]) -> None:
    assert "".join(stream(byte_level.detokenizer(), ids)) == byte_level.whole(ids)


@given(text=st.text(max_size=60))
def test_byte_level_never_breaks_a_character(byte_level: Pair, text: str) -> None:
    deltas = stream(byte_level.detokenizer(), byte_level.encode(text))
    assert "".join(deltas) == byte_level.whole(byte_level.encode(text))
    if REPLACEMENT not in text:
        assert not any(REPLACEMENT in delta for delta in deltas)


@given(text=st.text(alphabet=st.sampled_from("abc the.,é\n你🙂 "), max_size=40))
def test_sentence_piece_equals_the_whole_decode(pieces: Pair, text: str) -> None:
    ids = pieces.encode(text)
    deltas = stream(pieces.detokenizer(), ids)
    assert "".join(deltas) == pieces.whole(ids)
    assert not any(REPLACEMENT in delta for delta in deltas)


@given(ids=st.lists(st.integers(0, 2) | st.integers(259, 272), max_size=40))
def test_sentence_piece_keeps_spaces_around_special_tokens(pieces: Pair, ids: list[int]) -> None:
    """A window that held nothing but a skipped token used to make the next word look like the first one.

    The decoder strips the space before a text's first word.
    """
    assert "".join(stream(pieces.detokenizer(), ids)) == pieces.whole(ids)


@given(ids=st.lists(st.integers(3, 258), max_size=40))
def test_sentence_piece_never_holds_broken_bytes_for_long(pieces: Pair, ids: list[int]) -> None:
    detokenizer = pieces.detokenizer()
    held = 0
    for identifier in ids:
        held = 0 if detokenizer.add(identifier) else held + 1
        assert held <= 4


def test_a_character_appears_with_its_last_byte(byte_level: Pair) -> None:
    detokenizer = byte_level.detokenizer()
    ids = [byte_level.token(character) for character in "ä½ł"]  # the stand-ins of the bytes e4 bd a0
    assert [detokenizer.add(identifier) for identifier in ids] == ["", "", "你"]


def test_what_was_never_completed_is_flushed(byte_level: Pair) -> None:
    detokenizer = byte_level.detokenizer()
    assert detokenizer.add(byte_level.token("ä")) == ""
    assert detokenizer.finish() == REPLACEMENT


@given(ids=st.lists(st.integers(0, 15), max_size=40))
def test_word_piece_equals_the_whole_decode_for_any_tokens(words: Pair, ids: list[int]) -> None:
    assert "".join(stream(words.detokenizer(), ids)) == words.whole(ids)


def test_the_text_of_a_token_is_what_it_adds_to_a_text(byte_level: Pair, pieces: Pair, words: Pair) -> None:
    expected = [
        (byte_level, {"a": "a", "Ġ": " ", "ä": REPLACEMENT, "日本": "日本", "<tool>": "<tool>", "</s>": "</s>"}),
        (pieces, {"▁the": " the", "the": "the", "▁▁": "  ", "<0x41>": "A", "<0xE4>": REPLACEMENT, "</s>": "</s>"}),
        (words, {"the": " the", "##able": "able", ".": ".", "[SEP]": "[SEP]"}),
    ]
    for tokenizer, texts in expected:
        text = token_texts(tokenizer.ours)
        assert {piece: text(tokenizer.token(piece)) for piece in texts} == texts
        assert text(9_999) == ""


@given(ids=st.lists(st.integers(3, 321), min_size=1, max_size=20))
def test_whole_characters_make_up_the_text(byte_level: Pair, ids: list[int]) -> None:
    text = token_texts(byte_level.ours)
    texts = [text(identifier) for identifier in ids]
    if not any(REPLACEMENT in text for text in texts):
        assert "".join(texts) == byte_level.whole(ids)
