"""What a page shows of a run, as the widget's script draws it: nothing of it is taken for anything but text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from snapshots import widget

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = '<img src="x" onerror="document.title = \'run\'">'


RUN = {"type": "run", "id": "r1", "model": "train", "inputs": [1]}


@pytest.fixture
def show(bare_page: Any) -> Any:
    """Draws a snapshot in an empty page; further ones with ``update``."""

    def show(**changes: Any) -> Page:
        drawn: Page = bare_page.show("token_stream", widget(request=RUN) | changes)
        return drawn

    return show


def test_progress_is_a_bar_that_a_reader_of_the_page_is_told_of(show: Any) -> None:
    page = show(progress={"value": 0.25, "message": f"epoch 1 {HOSTILE}"})
    bar = page.get_by_role("progressbar", name="Progress")
    assert bar.get_attribute("aria-valuenow") == "25"
    assert bar.get_attribute("aria-valuetext") == f"25 %: epoch 1 {HOSTILE}"
    assert bar.inner_text() == f"epoch 1 {HOSTILE}"
    page.evaluate("update({ progress: { value: 0.5, message: '' } })")
    page.wait_for_function("document.querySelector('[role=progressbar]').getAttribute('aria-valuenow') === '50'")
    assert bar.inner_text() == "50 %"
    page.evaluate("update({ state: 'completed' })")
    bar.wait_for(state="hidden")
    assert page.title() == "A page"


def test_values_are_lines_of_text(show: Any) -> None:
    page = show(text=json.dumps({"loss": HOSTILE}) + "\n")
    text = json.dumps({"loss": HOSTILE}) + "\n"
    page.wait_for_function("text => document.querySelector('[role=log]').textContent === text", arg=text)
    assert page.locator("img").count() == 0
    assert page.get_by_role("progressbar").count() == 0
    assert page.title() == "A page"


def test_a_run_is_retried_and_never_continued(show: Any) -> None:
    page = show(state="incomplete", text="so far")
    page.get_by_role("button", name="Retry").click()
    assert page.evaluate("window.sent") == [{"type": "retry"}]
    assert page.get_by_role("button", name="Continue").count() == 0
