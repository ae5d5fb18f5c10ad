"""Token classification: spans with exact characters, the same in any company."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast

from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.inference.spans import Words, spans
from jupyter_streaminfer.protocol import StreaminferError

from .encoders import LIMIT, answer, build_encoder, company, load_predictor, refused, texts

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@dataclass
class Encoding:
    """What a tokenizer says of a text."""

    offsets: list[tuple[int, int]]
    word_ids: list[int | None]
    special_tokens_mask: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.special_tokens_mask = self.special_tokens_mask or [0] * len(self.offsets)


@pytest.fixture(scope="module", params=["bert", "distilbert", "modernbert"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    labels = dict(enumerate(LABELS))
    return build_encoder(tmp_path_factory.mktemp(name), name, "ForTokenClassification", id2label=labels)


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return load_predictor(folder)


def same(found: list[dict], expected: list[dict]) -> bool:
    """Whether spans agree, their confidences to 1e-5."""
    return [{**each, "confidence": 0} for each in found] == [{**each, "confidence": 0} for each in expected] and all(
        abs(one["confidence"] - other["confidence"]) <= 1e-5 for one, other in zip(found, expected, strict=True)
    )


def test_batched_is_as_alone_in_every_size(predictor: Predictor) -> None:
    rows = texts(64)
    alone = [answer(predictor, [row])[0] for row in rows]
    assert any(alone)
    for size in range(1, 65):
        together = company(predictor, rows[:size])
        assert all(map(same, together, alone)), size


def test_words_have_the_label_of_their_first_token(folder: Path, predictor: Predictor) -> None:
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    text = "Anna walks,  walked in\tBerlin ."
    encoded = tokenizer(text, return_offsets_mapping=True)
    with torch.no_grad():
        found = model(input_ids=torch.tensor([encoded["input_ids"]])).logits[0].argmax(-1).tolist()
    expected = set()
    before = None
    for index, word in enumerate(encoded.word_ids()):
        if word is not None and word != before and LABELS[found[index]] != "O":
            expected.add(encoded["offset_mapping"][index][0])
        before = word
    (answered,) = answer(predictor, [text])
    covered = {start for start in expected if any(each["start"] <= start < each["end"] for each in answered)}
    assert covered == expected
    for each in answered:
        assert text[each["start"] : each["end"]] == each["text"]
        assert each["label"] in ("PER", "LOC")
        assert 0 < each["confidence"] <= 1


def test_parts_of_a_word_and_words_of_a_name_are_merged() -> None:
    text = "Anna Maria  Schmidts, Berlin"
    encoding = Encoding(
        [(0, 0), (0, 4), (5, 10), (12, 19), (19, 20), (20, 21), (22, 28), (0, 0)],
        [None, 0, 1, 2, 2, 3, 4, None],
        [1, 0, 0, 0, 0, 0, 0, 1],
    )
    words = Words.read(text, encoding)
    assert words.places == [(1, 0, 4), (2, 5, 10), (3, 12, 20), (5, 20, 21), (6, 22, 28)]
    found = spans(words, [0, 1, 2, 2, 0, 0, 3, 0], [1, 0.9, 0.8, 0.7, 1, 1, 0.5, 1], LABELS)
    assert [(each.start, each.end, each.text, each.label) for each in found] == [
        (0, 20, "Anna Maria  Schmidts", "PER"),
        (22, 28, "Berlin", "LOC"),
    ]
    assert found[0].confidence == pytest.approx(0.8)
    assert found[1].confidence == 0.5


@pytest.mark.parametrize(
    ("labels", "merged"),
    [
        (["B-PER", "B-PER"], ["a", "b"]),
        (["B-PER", "I-PER"], ["a b"]),
        (["I-PER", "I-PER"], ["a b"]),
        (["B-PER", "I-LOC"], ["a", "b"]),
        (["S-PER", "S-PER"], ["a", "b"]),
        (["U-PER", "L-PER"], ["a b"]),
        (["PER", "PER"], ["a b"]),
        (["PER", "LOC"], ["a", "b"]),
        (["O", "I-PER"], ["b"]),
    ],
)
def test_schemes_of_labels(labels: list[str], merged: list[str]) -> None:
    words = Words.read("a b", Encoding([(0, 1), (2, 3)], [0, 1]))
    assert [each.text for each in spans(words, [0, 1], [1.0, 1.0], labels)] == merged


def test_a_space_that_a_tokenizer_counts_to_a_word_is_not_in_the_span() -> None:
    words = Words.read("a  b", Encoding([(0, 1), (1, 4)], [0, 1]))
    assert words.places == [(0, 0, 1), (1, 3, 4)]


@given(
    st.text("ab é日", min_size=1, max_size=30),
    st.lists(st.sampled_from(range(len(LABELS))), min_size=30, max_size=30),
)
def test_spans_are_in_order_and_do_not_overlap(text: str, found: list[int]) -> None:
    offsets = [(index, index + 1) for index in range(len(text))]
    ids = list(range(len(text)))
    result = spans(Words.read(text, Encoding(offsets, ids)), found, [0.5] * len(found), LABELS)
    ends = [0]
    for each in result:
        assert ends[-1] <= each.start < each.end <= len(text)
        assert each.text == text[each.start : each.end] == each.text.strip()
        ends.append(each.end)


def test_texts_only_and_no_longer_than_the_model(predictor: Predictor) -> None:
    assert "row 1 of inputs must be a text" in refused(predictor, ["paul", [2, 3]])
    assert f"{LIMIT} at most" in refused(predictor, [" ".join(["walk"] * LIMIT)])
    assert answer(predictor, [""]) == [[]]
    predictor.warm_up()


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path, "bert", "ForTokenClassification", id2label=dict(enumerate(LABELS)))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(StreaminferError, match=r"tokenizer.json is missing"):
        load_predictor(folder)
