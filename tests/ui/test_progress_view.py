"""A training's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accessibility import violations

HOSTILE = "<img src=x onerror=\"document.title='run'\">"


def traits(**changes: Any) -> dict[str, Any]:
    losses = [(epoch / 10, 2 / (1 + epoch / 5)) for epoch in range(1, 31)]
    return {
        "title": f"Training {HOSTILE}",
        "epochs": 5,
        "epoch": 4,
        "step": 10,
        "steps": 40,
        "state": "running",
        "share": 0.65,
        "elapsed_s": 61.0,
        "left_s": 3725.0,
        "series": [
            {"name": "loss", "latest": 0.3, "least": 0.28571, "greatest": 1.6667, "points": losses},
            {"name": "val_loss", "latest": None, "least": 0.5, "greatest": 1.0, "points": [[1, 1.0], [2, 0.5]]},
            {"name": HOSTILE, "latest": 1e-5, "least": 1e-5, "greatest": 12_345_678.0, "points": [[1, 1e-5]]},
        ],
        "samples": [
            {"epoch": 3, "label": HOSTILE, "text": HOSTILE, "state": "streaming"},
            {"epoch": 2, "label": "", "text": "x" * 1000, "state": "cancelled"},
        ],
        "error": "",
        **changes,
    }


def test_figures_are_those_that_were_told_and_everything_is_text(bare_page: Any) -> None:
    page = bare_page.show("progress", traits())
    bar = page.get_by_role("progressbar", name="Progress")
    page.wait_for_function("document.querySelector('[role=progressbar]').getAttribute('aria-valuenow') === '65'")
    assert bar.get_attribute("aria-valuetext") == "65 %: epoch 4 of 5 · step 10 of 40"
    assert page.get_by_role("status").inner_text() == "Running"
    page.get_by_text("about 1 h 02 min left").wait_for()
    rows = [row.inner_text().split("\t") for row in page.get_by_role("row").all()]
    assert rows[1:3] == [["loss", "0.3", "0.2857", "1.667"], ["val_loss", "not finite", "0.5", "1"]]
    assert rows[3] == [HOSTILE, "1.00e-5", "1.00e-5", "1.23e+7"]
    chart = page.get_by_role("img")
    assert chart.get_attribute("aria-label") == "Loss over the epochs: loss 0.3, val_loss not finite"
    points = chart.locator("polyline").first.get_attribute("points")
    assert len(points.split()) == 30
    log = page.get_by_role("log", name="Samples from the model")
    assert log.inner_text().startswith(f"Epoch 3 · {HOSTILE} …\n{HOSTILE}\n")
    assert page.locator("#widget img").count() == 0
    assert page.title() == "A page"
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0


def test_the_clock_goes_on_between_two_messages(bare_page: Any) -> None:
    page = bare_page.show("progress", traits(elapsed_s=5.0, left_s=100.0))
    page.get_by_text("5 s · about 1 min 40 s left").wait_for()
    page.get_by_text("7 s · about 1 min 38 s left").wait_for()
    bare_page.update(state="interrupted", left_s=None, elapsed_s=8.0)
    page.get_by_text("Interrupted").wait_for()
    assert page.locator(".jp-StreaminferProgress-times").inner_text() == "8 s"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["waiting", "running", "completed", "stopped", "failed", "interrupted"])
def test_there_is_nothing_that_keeps_anybody_out(bare_page: Any, pictures: Path, scheme: Any, state: str) -> None:
    bare_page.page.emulate_media(color_scheme=scheme)
    nothing = {"series": [], "samples": [], "epoch": 0, "step": 0, "share": 0.0} if state == "waiting" else {}
    error = "ValueError: " + HOSTILE if state == "failed" else ""
    page = bare_page.show("progress", traits(state=state, error=error, **nothing))
    page.evaluate("ground => { document.body.style.background = ground }", "#111" if scheme == "dark" else "#fff")
    page.locator(f".jp-StreaminferProgress[data-state={state}]").wait_for()
    page.screenshot(path=pictures / f"progress-{state}-{scheme}.png")
    assert violations(page) == []


def test_a_narrow_page_cuts_nothing_off(bare_page: Any) -> None:
    bare_page.page.set_viewport_size({"width": 320, "height": 900})
    page = bare_page.show("progress", traits())
    page.wait_for_function("document.querySelector('polyline') !== null")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
