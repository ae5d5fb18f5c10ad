"""The comparison on a page: reading from the server by itself, and through the kernel alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accessibility import violations
from comm_page import CommPage
from playwright.sync_api import Locator, Page
from scripted_server import CONFIG, ScriptedServer
from snapshots import snapshot
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.widgets import Compare

HOSTILE = "<img src=x onerror=alert(1)>"


def answer(**changes: Any) -> dict[str, Any]:
    return snapshot(request={"type": "generate", "id": "w", "model": "demo", "prompt": "p"}) | changes


def traits(*answers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    columns = [{"model": f"model{index} {HOSTILE}", "temperature": index / 2} for index in range(len(answers))]
    given = {"prompt": f"Say {HOSTILE}", "columns": columns, "answers": list(answers), "server": True, "direct": False}
    return given | changes


def columns(page: Page) -> Locator:
    return page.locator(".jp-StreaminferCompare-column")


def test_each_answer_comes_and_is_stopped_by_itself(page: Page, bare_page: Any) -> None:
    page.emulate_media(reduced_motion="reduce")
    server = ScriptedServer(page)
    for id in ("st_1", "st_2"):
        server.add(id)
    bare_page.show("compare", traits(answer(), answer(stream="st_2")), config=CONFIG)
    one, two = server.asked(1), server.asked(2)
    one.bring("left")
    two.bring("right")
    columns(page).first.get_by_text("left").wait_for()
    columns(page).last.get_by_text("right").wait_for()
    columns(page).first.get_by_role("button", name="Stop").click()
    columns(page).first.get_by_text("Stopped").wait_for()
    assert (one.cancelled, two.cancelled) == (True, False)
    page.get_by_role("button", name="Stop all").click()
    columns(page).last.get_by_text("Stopped").wait_for()
    assert two.cancelled
    assert page.get_by_role("button", name="Stop all").is_disabled()
    columns(page).first.get_by_role("button", name="Retry").click()
    again = server.asked(3)
    again.bring("again")
    columns(page).first.get_by_text("again").wait_for()
    assert {"type": "began", "column": 0, "stream": "st_3"} in bare_page.sent
    # What the kernel says of the other one is no reason to show the stream before that retry.
    bare_page.update(answers=[answer(), answer(stream="st_2", state="cancelled", text="right")])
    assert columns(page).first.get_by_role("log").text_content() == "again"
    # Nor is what it says late of the stream before that retry.
    bare_page.update(answers=[answer(state="cancelled", text="left"), answer(stream="st_2", state="cancelled")])
    again.bring(" and on")
    columns(page).first.get_by_text("again and on").wait_for()
    assert bare_page.sent == [{"type": "began", "column": 0, "stream": "st_3"}]
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_columns_wrap_and_nothing_hinders_anybody(page: Page, bare_page: Any, scheme: str) -> None:
    figures = {"tokens": 3, "tokens_per_s": 100.0, "ttft_ms": 6.0}
    error = {"code": "model_not_found", "message": f"There is no model {HOSTILE}."}
    given = [answer(state="completed", text="a text", figures=figures), answer(state="failed", stream="", error=error)]
    bare_page.show("compare", traits(*given, server=False))
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.add_style_tag(content="@media (prefers-color-scheme: dark) { body { background: #111 } }")
    places = [columns(page).nth(index).bounding_box() for index in range(2)]
    assert places[0] is not None
    assert places[1] is not None
    assert places[0]["y"] == places[1]["y"]
    page.set_viewport_size({"width": 320, "height": 700})
    places = [columns(page).nth(index).bounding_box() for index in range(2)]
    assert places[0] is not None
    assert places[1] is not None
    assert places[0]["x"] == places[1]["x"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert violations(page) == []


@pytest.fixture
def client(long_llama: Path) -> Iterator[Client]:
    with embedded() as client:
        client.load("demo", long_llama)
        yield client


def test_the_kernel_brings_the_answers_where_the_page_cannot_read(
    client: Client, bare_page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    comms = CommPage(bare_page, monkeypatch)
    compare = Compare(client, "The quick", "demo", temperature=[0.0, 1.0], seed=1, max_tokens=ENDLESS, ignore_eos=True)
    page = comms.show(compare)
    logs = columns(page).get_by_role("log")
    comms.until(lambda: all(len(logs.nth(place).inner_text()) > 40 for place in range(2)))
    page.get_by_role("button", name="Stop all").click()
    comms.until(lambda: all(stream and stream.done for stream in compare.streams))
    comms.until(lambda: page.locator(".jp-TokenStream[data-state=cancelled]").count() == 2)
    frame = compare.to_frame()
    assert [logs.nth(place).text_content() for place in range(2)] == list(frame["text"])
    columns(page).first.get_by_role("button", name="Retry").click()
    before = compare.streams[0]
    comms.until(lambda: compare.streams[0] is not before)
    comms.until(lambda: page.get_by_role("button", name="Stop all").is_enabled())
    page.get_by_role("button", name="Stop all").click()
    comms.until(lambda: all(stream and stream.done for stream in compare.streams))
