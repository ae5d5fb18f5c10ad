"""Review's kernel side: predictions of a real model, judged by messages as a page sends them."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.protocol import Predict, Prediction, Result, Scored, StreaminferError
from jupyter_streaminfer.widgets import Review
from jupyter_streaminfer.widgets.judgements import Judgements
from jupyter_streaminfer.widgets.review import INTERVAL_S
from jupyter_streaminfer.widgets.review_items import AHEAD, AHEAD_BYTES

TIMEOUT_S = 60
ROWS = np.random.default_rng(0).uniform(0, 16, (300, 64)).astype(np.float32)
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with embedded() as client:
        client.load("digits")
        yield client


class Page:
    """Says what a page says."""

    def __init__(self, review: Review, name: str = "page") -> None:
        self._review = review
        self._name = name
        self._said = itertools.count(1)

    def say(self, type: str, **fields: Any) -> dict[str, Any]:
        said = {"type": type, "page": self._name, "n": next(self._said), **fields}
        self._review._handle_custom_msg(said, [])
        return said

    def decide(self, label: str | None = None, row: int | None = None, ms: float = 1500) -> int:
        row = self._review.queue[0] if row is None else row
        own = self._review.to_frame()["prediction"].iloc[row]
        self.say("decide", row=row, label=own if label is None else label, ms=ms)
        return row


def whole(client: Client, rows: Any = ROWS, **options: Any) -> Review:
    """A review whose predictions are all there."""
    review = Review(client, "digits", rows, **options)
    review.settle()
    return review


def test_the_least_sure_come_first_and_the_most_sure_and_as_given(client: Client) -> None:
    confidences = client.predict("digits", ROWS).confidences
    order = [int(row) for row in np.argsort(confidences, kind="stable")]
    assert whole(client).queue == order[:AHEAD]
    most = whole(client, sort="most").queue
    assert [confidences[row] for row in most] == sorted(confidences, reverse=True)[:AHEAD]
    assert whole(client, sort="given").queue == list(range(AHEAD))


def test_a_page_has_the_next_rows_with_their_pictures(client: Client) -> None:
    review = whole(client)
    assert [item["row"] for item in review.items][: AHEAD // 2] == review.queue[: AHEAD // 2]
    item = review.items[0]
    prediction = client.predict("digits", ROWS)[item["row"]]
    assert (item["label"], item["confidence"]) == (prediction.label, prediction.confidence)
    assert [label for label, _ in item["scores"]] == [score.label for score in prediction.scores[:5]]
    picture = item["picture"]
    assert (picture["width"], picture["height"], picture["channels"]) == (8, 8, 1)
    span = ROWS.max() - ROWS.min()
    drawn = np.frombuffer(picture["pixels"], np.uint8).reshape(8, 8)
    wanted = ((ROWS[item["row"]].reshape(8, 8) - ROWS.min()) / span * 255).round()
    assert np.abs(drawn - wanted).max() <= 1
    assert review.classes == [str(digit) for digit in range(10)]


def test_the_first_is_shown_while_others_are_still_computed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    more, shown, asked = threading.Event(), threading.Event(), itertools.count()
    predict = client._transport.predict

    async def held(request: Predict) -> Result:
        if next(asked):
            assert await asyncio.to_thread(more.wait, TIMEOUT_S)
        return await predict(request)

    monkeypatch.setattr(client._transport, "predict", held)
    review = Review(client, "digits", ROWS)
    review.observe(lambda change: shown.set(), "items")
    try:
        assert review.items or shown.wait(TIMEOUT_S)
        assert review.predicting
        Page(review).decide()
        assert review.figures["judged"] == 1
    finally:
        more.set()
    review.settle()
    assert review.figures["predicted"] == len(ROWS)
    assert not review.predicting


def test_a_page_never_runs_out_while_the_kernel_has_time(client: Client) -> None:
    for rows in (ROWS[:2], ROWS[:AHEAD], ROWS):
        review = whole(client, rows)
        page = Page(review)
        while review.queue:
            ready = [item["row"] for item in review.items if item["row"] in review.queue]
            assert ready[: AHEAD // 2] == review.queue[: AHEAD // 2]
            page.decide()
        assert review.figures["judged"] == len(rows)


def test_decisions_land_in_a_frame_with_the_rows_own_index(client: Client) -> None:
    frame = pd.DataFrame(ROWS[:20], index=[f"scan {number}" for number in range(20)])
    review, decided = whole(client, frame), []
    remove = review.on_decision(decided.append)
    page = Page(review)
    confirmed = page.decide(ms=1500)
    own = review.to_frame()["prediction"].iloc[review.queue[0]]
    other = next(label for label in review.classes if label != own)
    overridden = page.decide(other, ms=250)
    remove()
    page.decide()
    found = review.to_frame()
    assert list(found.index) == list(frame.index)
    assert list(found.columns) == ["prediction", "confidence", "decision", "label", "seconds"]
    assert found["prediction"].tolist() == client.predict("digits", frame).labels
    assert found.iloc[confirmed][["decision", "seconds"]].tolist() == ["confirmed", 1.5]
    assert found.iloc[overridden][["decision", "label", "seconds"]].tolist() == ["overridden", other, 0.25]
    assert found["decision"].notna().sum() == 3
    assert [each.row for each in decided] == [confirmed, overridden]
    assert decided == review.decisions[:2]
    assert review.items[0]["name"].startswith("scan ")
    assert review.items[0]["picture"] is None
    assert len(review.items[0]["fields"]) == 41


def test_a_row_is_skipped_to_the_end_and_taken_back(client: Client) -> None:
    review = whole(client, ROWS[:5])
    page, first = Page(review), review.queue[0]
    page.say("skip", row=first, ms=100)
    assert review.queue[-1] == first
    assert review.figures["skipped"] == 1
    second = page.decide(ms=1000)
    page.say("back", row=second)
    assert review.queue[0] == second
    assert review.figures["judged"] == 0
    page.decide(ms=500)
    assert review.to_frame()["seconds"].iloc[second] == 1.5, "all visits count"
    page.say("back", row=None)
    page.say("back", row=None)
    assert review.queue[0] == first
    assert review.figures["skipped"] == 0
    page.say("back", row=None)
    assert review.figures["judged"] == 0


def test_agreement_and_accuracy(client: Client) -> None:
    predictions = client.predict("digits", ROWS[:4]).labels
    true: list[Any] = [int(label) for label in predictions]
    true[0] = (true[0] + 1) % 10
    true[3] = None
    review = whole(client, ROWS[:4], labels=true, sort="given")
    page = Page(review)
    assert (review.agreement, review.accuracy) == (None, None)
    page.decide(str(true[0]))
    page.decide()
    page.decide(str((true[2] + 1) % 10))
    page.decide()
    assert review.agreement == 0.5
    assert review.accuracy == pytest.approx(2 / 3), "the one that is unknown does not count"
    assert review.figures["before"] == pytest.approx(2 / 3)
    baseline = [predictions[0], "x", predictions[2], predictions[3]]
    against = whole(client, ROWS[:4], baseline=baseline, sort="given")
    page = Page(against)
    page.decide()
    page.decide()
    assert (against.agreement, against.accuracy) == (1.0, 0.5)
    assert "baseline" in against.text()
    assert whole(client, ROWS[:4]).figures["reference"] == "predictions"


def test_what_is_said_twice_is_taken_once_and_nonsense_not_at_all(client: Client) -> None:
    review = whole(client, ROWS[:5])
    page = Page(review)
    row = review.queue[0]
    said = page.say("decide", row=row, label="3", ms=1.0)
    review._handle_custom_msg({**said, "label": "4"}, [])
    assert review.to_frame()["label"].iloc[row] == "3"
    assert review.taken == {"page": 1}
    before = review.to_frame()
    page.say("decide", row=99, label="3", ms=1.0)
    page.say("decide", row=review.queue[0], label=HOSTILE, ms=1.0)
    page.say("decide", row=-1, label="3", ms=1.0)
    page.say("decide", row=0, label="3", ms=float("nan"))
    page.say("forget")
    review._handle_custom_msg("nothing", [])
    pd.testing.assert_frame_equal(review.to_frame(), before)
    for number in range(40):
        Page(review, f"page {number}").say("skip", row=review.queue[0], ms=0)
    assert len(review.taken) <= 16


def test_a_callback_that_fails_is_no_reason_to_stop(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    review, told = whole(client, ROWS[:5]), []
    review.on_decision(lambda decision: 1 / 0)
    review.on_decision(told.append)
    Page(review).decide()
    assert len(told) == 1
    assert "ZeroDivisionError" in caplog.text


def test_large_pictures_are_made_smaller_and_their_sum_is_bounded(client: Client) -> None:
    images = np.zeros((300, 50, 1000, 3), np.uint8)
    images[:, :, 500:] = 200
    review = whole(client, images=images)
    pictures = [item["picture"] for item in review.items]
    assert {(picture["width"], picture["height"]) for picture in pictures} == {(200, 10)}
    assert sum(len(picture["pixels"]) for picture in pictures) <= AHEAD_BYTES
    assert AHEAD_BYTES / INTERVAL_S < 1_000_000
    drawn = np.frombuffer(pictures[0]["pixels"], np.uint8).reshape(10, 200, 3)
    assert (drawn[:, :100] == 0).all()
    assert (drawn[:, 100:] == 200).all()


@pytest.mark.parametrize(
    ("images", "pixel"),
    [
        (np.ones((5, 4, 4), bool), 255),
        (np.full((5, 4, 4), 0.5), 128),
        (np.full((5, 3, 4, 4), 1.0), 255),
        (np.full((5, 4, 4, 4), 7, np.uint8), 7),
        ([np.full((size, 4), 9, np.uint8) for size in range(1, 6)], 9),
        (np.full((5, 4, 4), np.nan), 0),
    ],
    ids=["black and white", "shares", "channels first", "with alpha", "of many sizes", "not a number"],
)
def test_images_of_any_kind(client: Client, images: Any, pixel: int) -> None:
    review = whole(client, ROWS[:5], images=images)
    for item in review.items:
        assert set(item["picture"]["pixels"]) == {pixel}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"sort": "best"}, "sort"),
        ({"labels": ["1"]}, "labels"),
        ({"baseline": ["1"]}, "baseline"),
        ({"images": np.zeros((4, 8, 8))}, "images"),
        ({"images": np.zeros((5, 8))}, "images"),
        ({"images": [["a"]] * 5}, "images"),
        ({"rows": "text"}, "rows"),
        ({"rows": {"a": [1], "b": [1, 2]}}, "rows"),
    ],
)
def test_what_cannot_be_reviewed_is_refused_with_its_name(client: Client, options: dict[str, Any], field: str) -> None:
    with pytest.raises(StreaminferError) as caught:
        Review(client, "digits", **{"rows": ROWS[:5], **options})
    assert caught.value.field == field


def test_rows_that_the_model_refuses_are_counted_and_the_reason_is_shown(client: Client) -> None:
    rows = [*ROWS[:3].tolist(), [1.0, 2.0], *ROWS[3:5].tolist()]
    review = whole(client, rows)
    assert (review.figures["predicted"], review.figures["failed"]) == (5, 1)
    assert "row 3" in review.error["message"]
    assert sorted(review.queue) == [0, 1, 2, 4, 5]


def test_rows_that_fail_to_be_read_end_the_predictions_with_the_reason(client: Client) -> None:
    class Torn(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            raise OSError("the file is gone")

    review = whole(client, Torn(ROWS[:5].tolist()))
    assert "the file is gone" in review.error["message"]
    assert not review.predicting


def test_closing_ends_the_predictions(client: Client) -> None:
    review = Review(client, "digits", np.tile(ROWS, (600, 1)))
    review.close()
    review._thread.join(TIMEOUT_S)
    assert not review._thread.is_alive()
    assert review.error is None


def test_a_notebook_keeps_text_and_html_without_times(client: Client) -> None:
    review = whole(client, pd.DataFrame(ROWS[:5], index=[HOSTILE] * 5))
    assert review.text() == "Review of digits: none of 5 rows judged"
    Page(review).decide()
    assert "1 of 5 rows judged, 1 confirmed, agreement 100%" in review.text()
    data, _ = review._repr_mimebundle_()
    assert data["text/plain"] == review.text()
    assert "<img" not in data["text/html"]
    assert "&lt;img" in data["text/html"]


SAID = st.tuples(st.sampled_from(["decide", "skip", "back", "last"]), st.integers(0, 7), st.integers(0, 2))


@given(st.lists(st.integers(0, 2), min_size=8, max_size=8), st.lists(SAID, max_size=40))
def test_figures_are_those_of_a_recount_and_every_row_keeps_its_turn(
    own: list[int], said: list[tuple[str, int, int]]
) -> None:
    names = ["a", "b", "c"]
    judgements = Judgements(8, names, labels=["a", "b", None, "c"] * 2)
    for row, code in enumerate(own):
        judgements.predict(row, Prediction(names[code], 0.1 * row, [Scored(names[code], 0.1 * row)]))
    history: list[tuple[int, str | None]] = []
    for kind, row, code in said:
        if kind in ("decide", "skip"):
            history = [(each, label) for each, label in history if each != row or label is None]
            history.append((row, names[code] if kind == "decide" else None))
        places = [place for place, (each, _) in enumerate(history) if kind == "last" or each == row]
        match kind:
            case "decide":
                judgements.decide(row, names[code], 1.0)
            case "skip":
                judgements.skip(row, 1.0)
            case _:
                taken_back = judgements.back(row if kind == "back" else None)
                assert taken_back == (history.pop(places[-1])[0] if places else None)
    labels = {row: label for row, label in history if label is not None}
    figures = judgements.figures()
    assert figures.judged == len(labels)
    assert figures.confirmed == sum(label == names[own[row]] for row, label in labels.items())
    assert figures.skipped == len({row for row, label in history if label is None} - labels.keys())
    true = {0: "a", 1: "b", 3: "c", 4: "a", 5: "b", 7: "c"}
    compared = labels.keys() & true.keys()
    hits = sum(labels[row] == true[row] for row in compared)
    assert figures.accuracy == (hits / len(compared) if compared else None)
    assert sorted(judgements.near(8)) == sorted(set(range(8)) - labels.keys())
    assert {each.row: each.label for each in judgements.latest(8)} == labels
