"""An operator's page: a real Review over a real model, judged by keys and clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from accessibility import violations
from sklearn.datasets import load_digits

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.widgets import Review

if TYPE_CHECKING:
    from comm_page import CommPage
    from playwright.sync_api import Page

HOSTILE = "<img src=x onerror=\"document.title='run'\">"
Show = Callable[..., tuple[Review, "CommPage"]]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with embedded() as client:
        client.load("digits")
        yield client


@pytest.fixture(scope="module")
def digits() -> Any:
    return load_digits()


@pytest.fixture
def show(bare_page: Any, monkeypatch: pytest.MonkeyPatch, client: Client, digits: Any) -> Iterator[Show]:
    """Draws a review; once its predictions are there."""
    from comm_page import CommPage

    comms = CommPage(bare_page, monkeypatch)
    shown: list[Review] = []

    def show(rows: Any = digits.data, **options: Any) -> tuple[Review, CommPage]:
        review = Review(client, "digits", rows, **options)
        shown.append(review)
        review.settle()
        comms.show(review)
        return review, comms

    yield show
    for review in shown:
        review.close()


def row_of(page: Page) -> str:
    """The row that the page asks about."""
    text = page.locator(".jp-StreaminferReview-asked").inner_text()
    return text.split(":")[0].removeprefix("Row ") if text.startswith("Row ") else ""


def test_keys_confirm_override_skip_and_take_back(show: Show, digits: Any, pictures: Path) -> None:
    review, comms = show(labels=digits.target)
    page = comms.page
    order = [str(row) for row in review.queue]
    comms.until(lambda: row_of(page) == order[0])
    group = page.get_by_role("group", name="Review of digits")
    group.focus()
    page.keyboard.press("Enter")
    comms.until(lambda: row_of(page) == order[1])
    truth = str(digits.target[int(order[1])])
    page.keyboard.press(truth)
    page.keyboard.press("s")
    comms.until(lambda: review.figures["skipped"] == 1)
    assert review.figures["judged"] == 2
    assert row_of(page) == order[3]
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    comms.until(lambda: review.figures["judged"] == 1)
    assert row_of(page) == order[1]
    former = group.locator(".jp-mod-former")
    assert former.get_attribute("aria-label").startswith(f"{truth}, ")
    page.keyboard.press(truth)
    comms.until(lambda: review.figures["judged"] == 2)
    accuracy, before = review.accuracy, review.figures["before"]
    comms.until_shown(
        f"2 of {len(digits.data)} judged", f"Accuracy {accuracy:.0%} (before {before:.0%})".replace("%", " %")
    )
    page.screenshot(path=pictures / "review.png")
    found = review.to_frame()
    judged = found[found["decision"].notna()]
    assert set(judged.index) == {int(order[0]), int(order[1])}
    assert found["label"].iloc[int(order[1])] == truth
    assert (judged["seconds"] > 0).all()
    assert page.get_by_role("progressbar").get_attribute("aria-valuenow") == "2"


def test_after_a_click_on_a_class_enter_confirms_the_next_row(show: Show) -> None:
    """Were the focus still on the class, Enter would choose it again."""
    review, comms = show()
    page, (first, second, third) = comms.page, review.queue[:3]
    predicted = review.to_frame()["prediction"]
    other = "7" if predicted.iloc[first] != "7" else "2"
    comms.until(lambda: row_of(page) == str(first))
    page.get_by_role("group", name="Classes").get_by_role("button").nth(int(other)).click()
    comms.until(lambda: row_of(page) == str(second))
    page.keyboard.press("Enter")
    comms.until(lambda: review.figures["judged"] == 2)
    found = review.to_frame()["label"]
    assert (found.iloc[first], found.iloc[second]) == (other, predicted.iloc[second])
    # Whoever came to a button by keyboard stays there.
    confirm = page.get_by_role("button", name="Confirm")
    confirm.focus()
    page.keyboard.press("Enter")
    comms.until(lambda: review.figures["judged"] == 3)
    assert confirm.evaluate("node => node === document.activeElement")
    assert third not in review.queue


def test_a_busy_kernel_is_not_waited_for_and_nothing_is_lost(show: Show) -> None:
    review, comms = show()
    page, order = comms.page, [str(row) for row in review.queue]
    comms.until(lambda: row_of(page) == order[0])
    page.get_by_role("group", name="Review of digits").focus()
    comms.busy = True
    for row in order[:6]:
        comms.until(lambda row=row: row_of(page) == row)
        page.keyboard.press("Enter")
    page.keyboard.press("Backspace")
    comms.until(lambda: row_of(page) == order[5])
    assert review.figures["judged"] == 0
    comms.until_shown("7 kept in this page until the kernel, which is busy, takes them")
    while row_of(page):
        page.keyboard.press("Enter")
        comms.turn()
    comms.until_shown("The kernel is busy: the next rows come when it has time.")
    comms.busy = False
    comms.until(lambda: row_of(page) != "" and "kept in this page" not in comms.text)
    assert review.figures["judged"] >= 12
    assert review.figures["judged"] == len(review.decisions) == review.to_frame()["decision"].notna().sum()


def test_a_page_that_is_loaded_anew_goes_on_where_it_was(show: Show) -> None:
    review, comms = show()
    page = comms.page
    order = [str(row) for row in review.queue]
    for row in order[:2]:
        comms.until(lambda row=row: row_of(page) == row)
        page.get_by_role("button", name="Confirm").click()
    comms.until(lambda: review.figures["judged"] == 2)
    comms.show(review)
    comms.until(lambda: row_of(page) == order[2])
    page.get_by_role("button", name="Back").click()
    comms.until(lambda: row_of(page) == order[1])
    page.get_by_role("button", name="Skip").click()
    comms.until(lambda: review.figures["skipped"] == 1)
    assert {each.row for each in review.decisions} == {int(order[0])}


def test_many_classes_are_searched(show: Show, digits: Any) -> None:
    classes = [f"class {number}" for number in range(300)] + [HOSTILE]
    review, comms = show(digits.data[:3], classes=classes, sort="given")
    page = comms.page
    comms.until(lambda: row_of(page) == "0")
    page.get_by_role("group", name="Review of digits").focus()
    page.keyboard.press("/")
    search = page.get_by_role("searchbox", name="Search 301 classes")
    assert search.evaluate("node => node === document.activeElement")
    page.keyboard.type("class 299")
    page.keyboard.press("Enter")
    comms.until(lambda: row_of(page) == "1")
    assert search.input_value() == ""
    search.fill("onerror")
    page.get_by_role("button", name=HOSTILE).click()
    comms.until(lambda: review.figures["judged"] == 2)
    assert row_of(page) == "2"
    assert review.to_frame()["label"].tolist()[:2] == ["class 299", HOSTILE]
    search.fill("nothing of the kind")
    comms.until_shown("No such class")
    assert page.title() == "A page"


def test_rows_without_a_picture_are_a_table_of_text(show: Show, digits: Any) -> None:
    import pandas as pd

    frame = pd.DataFrame(digits.data[:2], index=[HOSTILE, "b"])
    review, comms = show(frame, sort="given")
    page = comms.page
    comms.until_shown(f"Row {HOSTILE}")
    table = page.get_by_role("table")
    assert table.get_by_role("row").count() == 41
    assert "and 24 more" in table.inner_text()
    assert page.locator("img").count() == 0
    assert page.title() == "A page"
    for _ in range(2):
        page.get_by_role("button", name="Confirm").click()
    comms.until_shown("Everything is judged.", "2 of 2 judged", "Agreement 100 %")
    assert page.get_by_role("button", name="Confirm").is_disabled()
    assert review.figures["judged"] == 2


def test_pictures_have_the_pixels_that_they_were_given(show: Show, digits: Any) -> None:
    images = np.zeros((3, 2, 2, 3), np.uint8)
    images[:, 0, 1] = (255, 128, 7)
    _, comms = show(digits.data[:3], images=images)
    comms.until_shown("Row ")
    canvas = comms.page.get_by_role("img")
    drawn = canvas.evaluate("node => [...node.getContext('2d').getImageData(0, 0, 2, 2).data]")
    assert drawn == [0, 0, 0, 255, 255, 128, 7, 255, 0, 0, 0, 255, 0, 0, 0, 255]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_is_nothing_that_keeps_anybody_out(show: Show, digits: Any, scheme: Any, pictures: Path) -> None:
    _, comms = show(digits.data[:50])
    page = comms.page
    page.emulate_media(color_scheme=scheme)
    page.evaluate("ground => { document.body.style.background = ground }", "#111" if scheme == "dark" else "#fff")
    comms.until_shown("Row ")
    assert violations(page) == []
    page.get_by_role("button", name="Confirm").click()
    comms.until_shown("1 of 50 judged")
    page.screenshot(path=pictures / f"review-{scheme}.png")
    assert violations(page) == []


def test_no_rows_and_only_refused_rows(show: Show) -> None:
    _, comms = show([])
    comms.until_shown("There are no rows to review.")
    _, comms = show([[1.0, 2.0]])
    comms.until_shown("1 refused by the model", "shape [64]")
    assert violations(comms.page) == []
