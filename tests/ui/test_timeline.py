"""The widget `Timeline`, drawn by its own script from what the kernel sends."""

from __future__ import annotations

import base64
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from accessibility import violations
from lab import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = '<img src="x" onerror="document.title = \'run\'">'
FIRST_MS = 40.0
STEP_MS = 10.0
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def row(number: int, tokens: int, **changes: Any) -> dict[str, Any]:
    last = FIRST_MS + STEP_MS * (tokens - 1)
    fields = {"id": f"st_{number}", "model": "demo", "state": "completed", "began": 1e9 + number / 10}
    figures = {"queue_ms": 10.0, "ttft_ms": FIRST_MS, "duration_ms": last, "tokens": tokens}
    return {**fields, **figures, "itl_mean_ms": STEP_MS, "itl_max_ms": STEP_MS, **changes}


@pytest.fixture
def show(bare_page: Any) -> Any:
    """Draws so many streams of so many tokens each."""

    def show(count: int, tokens: int, text: str = " tok", **changes: Any) -> Page:
        page: Page = bare_page.show("timeline", {"rows": [row(number, tokens, **changes) for number in range(count)]})
        assert bare_page.sent == [{"type": "show"}]
        for number in range(count):
            send(page, number, 0, tokens, text)
        page.evaluate(FRAMES)
        return page

    return show


def send(page: Page, number: int, first: int, end: int, text: str = " tok") -> None:
    """Some tokens of a stream."""
    times = array("d", [FIRST_MS + STEP_MS * index for index in range(first, end)])
    content = {"type": "tokens", "parts": [{"stream": number, "first": first, "texts": [text] * (end - first)}]}
    data = base64.b64encode(times.tobytes()).decode()
    page.evaluate("([content, data]) => window.tell(content, [data])", [content, data])


def said(page: Page) -> str:
    return page.locator(".jp-StreaminferTimeline-said").inner_text()


def coloured(page: Page) -> int:
    """How many pixels of the picture have the colour of tokens."""
    count: int = page.evaluate(
        """() => {
          const canvas = document.querySelector('canvas');
          const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
          let count = 0;
          for (let i = 0; i < data.length; i += 4) {
            count += data[i] === 0 && data[i + 1] === 0x72 && data[i + 2] === 0xb2 ? 1 : 0;
          }
          return count;
        }"""
    )
    return count


def test_the_picture_has_the_colours_of_the_theme_that_is_changed_to(show: Any) -> None:
    """JupyterLab hides everything for a moment while it changes its theme.

    A picture that was about to be drawn just then was not, and kept the colours of the theme before.
    """
    page = show(3, 20)
    assert coloured(page)
    page.evaluate(
        """() => {
          window.update({ rows: window.traits.rows }); // is about to be drawn
          document.body.dataset.jpThemeLight = 'false';
          document.body.dataset.jpThemeName = 'JupyterLab Dark';
          const widget = document.getElementById('widget');
          widget.style.display = 'none';
          requestAnimationFrame(() => { widget.style.display = ''; });
        }"""
    )
    wait_until(lambda: not coloured(page))


def test_whoever_points_at_a_token_is_told_which_and_when(show: Any) -> None:
    page = show(3, 20, HOSTILE)
    assert said(page) == "3 streams, 60 tokens"
    box = page.locator("canvas").bounding_box()
    # The second stream began 100 ms after the first; the axis ends 2 % after the last token of the last.
    whole = (200 + FIRST_MS + 19 * STEP_MS) * 1.02
    at = 100 + FIRST_MS + 7 * STEP_MS
    page.mouse.move(box["x"] + 132 + at / whole * (box["width"] - 142), box["y"] + 22 + 1.5 * 22)
    page.evaluate(FRAMES)
    escaped = HOSTILE.replace('"', '\\"')
    assert said(page) == f'2 demo: token 8 of 20, "{escaped}", at 110.0 ms, 10 ms after the one before'
    assert page.locator("img").count() == 0
    assert page.title() == "A page"


def test_a_keyboard_goes_everywhere(show: Any, bare_page: Any) -> None:
    page = show(100, 50)
    frame = page.get_by_role("application")
    frame.focus()
    page.keyboard.press("ArrowDown")
    assert said(page).startswith("1 demo: completed, queue 10 ms, TTFT 40 ms, 50 tokens")
    for _ in range(98):
        page.keyboard.press("ArrowDown")
    assert said(page).startswith("99 demo")
    assert frame.evaluate("node => node.scrollTop > 0"), "a stream that is chosen comes into view"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "token 2 of 50" in said(page)
    page.keyboard.press("ArrowLeft")
    assert "token 1 of 50" in said(page)
    page.evaluate(FRAMES)
    whole = coloured(page)
    for _ in range(12):
        page.keyboard.press("+")
    page.evaluate(FRAMES)
    assert coloured(page) < whole
    page.keyboard.press("0")
    page.evaluate(FRAMES)
    assert coloured(page) == whole
    page.evaluate("window.leave()")
    assert page.evaluate("window.listening()") == 0


def test_the_same_is_there_as_a_table(show: Any) -> None:
    page = show(2, 20, state="failed", model=HOSTILE)
    page.get_by_text("As a table").click()
    row = page.get_by_role("row").nth(2)
    row.get_by_role("cell").first.wait_for()
    cells = row.get_by_role("cell").all_inner_texts()
    assert cells == [f"2 {HOSTILE}", "failed", "100 ms", "10 ms", "40 ms", "20", "10 ms", "10 ms", "230 ms"]
    assert page.locator("img").count() == 0


def test_open_streams_grow_and_what_comes_twice_is_there_once(show: Any, bare_page: Any) -> None:
    page = show(1, 10, duration_ms=None, state="open")
    before = coloured(page)
    send(page, 0, 5, 10)
    send(page, 0, 30, 40)
    page.evaluate(FRAMES)
    assert coloured(page) == before, "tokens after a hole wait for what fills it"
    send(page, 0, 10, 30)
    bare_page.update(rows=[row(0, 30)])
    page.get_by_role("application").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert "token 1 of 30" in said(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_both_themes(show: Any, page: Page, scheme: Any, pictures: Path) -> None:
    page.emulate_media(color_scheme=scheme)
    show(12, 60)
    page.evaluate("scheme => { document.body.style.background = scheme === 'dark' ? '#111' : '#fff'; }", scheme)
    page.get_by_text("As a table").click()
    page.evaluate(FRAMES)
    assert violations(page) == []
    page.screenshot(path=pictures / f"timeline-{scheme}.png")


def test_no_streams_are_said_to_be_none(show: Any) -> None:
    assert said(show(0, 0)) == "No streams."
