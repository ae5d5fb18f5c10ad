"""Incremental text equals the text of all tokens, and no character is ever shown broken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from jupyter_streaminfer.inference.detokenizer import REPLACEMENT, Detokenizer, detokenizers
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


def load(tokenizer: PreTrainedTokenizerFast, folder: object) -> ModelTokenizer:
    tokenizer.save_pretrained(folder)
    return ModelTokenizer(folder, 10_000)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([AddedToken("<tool>", special=False), AddedToken("日本", special=False)])
    return load(tokenizer, tmp_path_factory.mktemp("byte_level"))


@pytest.fixture(scope="module", params=["normalizer", "metaspace"])
def pieces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    return load(sentence_piece(request.param), tmp_path_factory.mktemp("pieces"))


def stream(detokenizer: Detokenizer, ids: list[int]) -> list[str]:
    return [*(detokenizer.add(identifier) for identifier in ids), detokenizer.finish()]


def full(tokenizer: ModelTokenizer, ids: list[int]) -> str:
    text: str = tokenizer.backend.decode(ids, skip_special_tokens=True)
    return text


@given(ids=st.lists(st.integers(0, 321), max_size=60))
def test_byte_level_equals_the_whole_decode_for_any_tokens(byte_level: ModelTokenizer, ids: list[int]) -> None:
    assert "".join(stream(detokenizers(byte_level)(), ids)) == full(byte_level, ids)


@given(text=st.text(max_size=60))
def test_byte_level_never_breaks_a_character(byte_level: ModelTokenizer, text: str) -> None:
    deltas = stream(detokenizers(byte_level)(), byte_level.encode(text))
    assert "".join(deltas) == full(byte_level, byte_level.encode(text))
    if REPLACEMENT not in text:
        assert not any(REPLACEMENT in delta for delta in deltas)


@settings(deadline=None)
@given(text=st.text(alphabet=st.sampled_from("abc the.,é\n你🙂 "), max_size=40))
def test_sentence_piece_equals_the_whole_decode(pieces: ModelTokenizer, text: str) -> None:
    ids = pieces.encode(text)
    deltas = stream(detokenizers(pieces)(), ids)
    assert "".join(deltas) == full(pieces, ids)
    assert not any(REPLACEMENT in delta for delta in deltas)


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 2) | st.integers(259, 272), max_size=40))
def test_sentence_piece_keeps_spaces_around_special_tokens(pieces: ModelTokenizer, ids: list[int]) -> None:
    """A window that held nothing but a skipped token used to make the next word look like the first one.

    The decoder strips the space before a text's first word.
    """
    assert "".join(stream(detokenizers(pieces)(), ids)) == full(pieces, ids)


@settings(deadline=None)
@given(ids=st.lists(st.integers(3, 258), max_size=40))
def test_sentence_piece_never_holds_broken_bytes_for_long(pieces: ModelTokenizer, ids: list[int]) -> None:
    detokenizer = detokenizers(pieces)()
    held = 0
    for identifier in ids:
        held = 0 if detokenizer.add(identifier) else held + 1
        assert held <= 4


def test_a_character_appears_with_its_last_byte(byte_level: ModelTokenizer) -> None:
    detokenizer = detokenizers(byte_level)()
    vocabulary = byte_level.backend.get_vocab()
    ids = [vocabulary[character] for character in "ä½ł"]  # the stand-ins of the bytes e4 bd a0
    assert [detokenizer.add(identifier) for identifier in ids] == ["", "", "你"]


def test_what_was_never_completed_is_flushed(byte_level: ModelTokenizer) -> None:
    detokenizer = detokenizers(byte_level)()
    assert detokenizer.add(byte_level.backend.get_vocab()["ä"]) == ""
    assert detokenizer.finish() == REPLACEMENT
