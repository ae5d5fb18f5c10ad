"""How a stream's text is shown: as text, as Markdown, token by token; whatever the model says is text and no more."""

from __future__ import annotations

import random
from typing import Any

import pytest
from accessibility import violations
from playwright.sync_api import Locator, Page
from scripted_server import CONFIG, ScriptedServer
from snapshots import widget

HOSTILE = {
    "html": '<img src="http://evil.test/a.png" onerror="document.title = \'run\'"><b>bold</b>',
    "script": "<script>document.title = 'run'</script><svg onload=\"document.title='run'\">",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b1m \x00 \x7f",
    "data url": "![a](data:image/svg+xml,%3Csvg%20onload=alert(1)%3E) [b](data:text/html,hi) <http://evil.test>",
    "links": "[a](javascript:document.title='run') [b](vbscript:x) [c](file:///etc) ![d](http://evil.test/d.png)",
    "no space": "x" * 200_000,
    "one mark": "[a](" * 20_000,
    "quotes": ">" * 20_000,
    "right to left": "\u202e\u2067שלום " * 50,
    "broken": "\ud800 \udfff \ufffe a\u0301\u0301\u0301 👩\u200d👩\u200d👧 \u200b",
}
MARKDOWN = """# A title

Some *emphasis*, **more**, ~~less~~, `code`, [a link](https://example.org/a?b=1 "t") and https://example.org.

1. one
2. two
   - nested [x](mailto:a@example.org)

     loose

     ```sh
     in a list
     ```
- [x] done
- [ ] to do

> quoted
> > twice

| a | b |
| --- | :-: |
| `1` | **2** |

```python
def f():
    return "```"
```

Setext
===

<div>raw</div>

1. again
"""


def token(text: str, logprob: float | None, *others: tuple[str, float]) -> dict[str, Any]:
    return {"text": text, "logprob": logprob, "top": [{"text": each, "logprob": value} for each, value in others]}


def log(page: Page) -> Locator:
    return page.get_by_role("log")


def choose(page: Page, mode: str) -> None:
    page.get_by_role("group", name="Show as").get_by_role("button", name=mode).click()


def elements(page: Page) -> str:
    """What the text is, whatever of it is settled."""
    code = "tail => { while (tail.firstChild) tail.before(tail.firstChild); tail.remove(); }"
    page.locator(".jp-Markdown-tail").evaluate(code)
    return log(page).inner_html()


def drawn(page: Page) -> None:
    """Wait until what was told is on the page."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_whatever_the_model_says_is_text(page: Page, bare_page: Any, kind: str) -> None:
    page.emulate_media(reduced_motion="reduce")
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    text = HOSTILE[kind]
    bare_page.show("token_stream", widget(text="", tokens=[token(text[:5], -1.0, (text[:50], -2.0))]))
    page.on("request", lambda request: asked.append(request.url))
    choose(page, "Markdown")
    page.evaluate("text => update({ text })", text)
    page.evaluate("text => update({ text: text + '\\n\\nthe end', state: 'completed' })", text)
    for mode in ("Markdown", "Text", "Tokens"):
        choose(page, mode)
        log(page).get_by_text("the end").wait_for()
        assert page.locator("img, svg, iframe, object, #widget script, #widget style").count() == 0
        addresses = page.eval_on_selector_all("a", "links => links.map(link => [link.protocol, link.target, link.rel])")
        assert all(each == ["http:", "_blank", "noopener noreferrer"] for each in addresses)
        if mode != "Markdown":
            same = "text => document.querySelector('[role=log]').textContent === text + '\\n\\nthe end'"
            page.wait_for_function(same, arg=text)
        # Nothing in the text moves what is around it.
        box, state = page.locator(".jp-TokenStream").bounding_box(), page.get_by_text("Completed").bounding_box()
        assert box is not None
        assert state is not None
        assert state["x"] - box["x"] < 60
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.title() == "A page"
    assert asked == []


def test_control_characters_are_spelled_out(page: Page, bare_page: Any) -> None:
    bare_page.show("token_stream", widget(text="\x1b[31mred", state="completed"))
    drawn(page)
    control = page.locator(".jp-TokenStream-control")
    assert control.evaluate("node => getComputedStyle(node, '::before').content") == '"\\\\x1b"'
    assert log(page).text_content() == "\x1b[31mred"
    choose(page, "Markdown")
    log(page).get_by_text("\\x1b[31mred").wait_for()


def test_markdown_is_elements(page: Page, bare_page: Any) -> None:
    bare_page.show("token_stream", widget(text=MARKDOWN, state="completed"))
    assert page.get_by_role("button", name="Text", exact=True).get_attribute("aria-pressed") == "true"
    choose(page, "Markdown")
    shown = log(page)
    shown.get_by_role("heading", name="A title").wait_for()
    assert shown.get_by_role("link", name="a link").get_attribute("href") == "https://example.org/a?b=1"
    assert shown.get_by_role("link").count() == 3
    assert shown.get_by_role("table").get_by_role("cell").all_inner_texts() == ["1", "2"]
    assert [each.inner_text().strip() for each in shown.locator("pre").all()] == [
        "in a list",
        'def f():\n    return "```"',
    ]
    assert shown.get_by_text("<div>raw</div>").is_visible()
    assert shown.get_by_role("img", name="done", exact=True).is_visible()
    shown.get_by_role("button", name="Copy code").last.click()
    shown.get_by_role("button", name="Copied").or_(shown.get_by_role("button", name="Selected")).wait_for()


@pytest.mark.parametrize("seed", range(4))
def test_markdown_that_grows_comes_to_the_same(page: Page, bare_page: Any, seed: int) -> None:
    page.emulate_media(reduced_motion="reduce")
    request = {"type": "generate", "id": "g", "model": "demo", "messages": [{"role": "user", "content": "?"}]}
    bare_page.show("token_stream", widget(text=MARKDOWN, state="completed", request=request))
    drawn(page)
    whole = elements(page)
    bare_page.show("token_stream", widget(request=request))
    numbers = random.Random(seed)
    cuts = sorted(numbers.sample(range(1, len(MARKDOWN)), 60))
    grow = """async cuts => {
      for (const text of cuts) {
        update({ text });
        await new Promise(requestAnimationFrame);
      }
    }"""
    page.evaluate(grow, [MARKDOWN[:cut] for cut in cuts])
    page.evaluate("text => update({ text, state: 'completed' })", MARKDOWN)
    drawn(page)
    assert elements(page) == whole


@pytest.mark.parametrize(
    "line",
    [
        "Words of a paragraph with *emphasis* that has an end.\n\n",
        "a paragraph that never ends and has no lines ",
        "- an item of one long list\n",
        "> a quote\n",
        "| a | row |\n| --- | --- |\n",
        "```\nsome code that is never closed\n",
    ],
)
def test_a_delta_costs_no_more_late_than_early(page: Page, bare_page: Any, line: str) -> None:
    """What is read again with each delta is counted in characters given to regular expressions, not in time."""
    page.emulate_media(reduced_motion="reduce")
    bare_page.show("token_stream", widget(text=""))
    choose(page, "Markdown")
    measure = """async delta => {
      const exec = RegExp.prototype.exec;
      const work = [];
      let characters = 0;
      RegExp.prototype.exec = function (text) { characters += text?.length ?? 0; return exec.call(this, text); };
      let text = '';
      for (let round = 0; round < 3; round++) {
        text += delta.repeat(20 * round);
        update({ text });
        await new Promise(requestAnimationFrame);
        characters = 0;
        for (let deltas = 0; deltas < 16; deltas++) {
          text += delta;
          update({ text });
          await new Promise(requestAnimationFrame);
        }
        work.push(characters);
      }
      RegExp.prototype.exec = exec;
      return work;
    }"""
    early, middle, late = page.evaluate(measure, line * (1000 // len(line)))
    assert max(middle, late) <= 1.5 * early, (early, middle, late)


def test_a_burst_is_shown_evenly_and_never_late(page: Page, bare_page: Any) -> None:
    page.clock.install(time="2026-01-01T08:00:00")
    bare_page.show("token_stream", widget(text=""))
    page.clock.pause_at("2026-01-01T10:00:00")
    shown = []
    for burst in range(1, 4):
        page.evaluate("text => update({ text })", "word " * 20 * burst)
        for _ in range(4):
            page.clock.run_for(50)
            shown.append(len(log(page).text_content() or ""))
        assert shown[-1] == 100 * burst
    assert 0 < shown[0] < 100
    assert shown == sorted(shown)
    page.evaluate("text => update({ text, state: 'completed' })", "word " * 80)
    page.clock.run_for(20)
    assert len(log(page).text_content() or "") == 400


def test_nothing_moves_for_whoever_wants_no_motion(page: Page, bare_page: Any) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.clock.install(time="2026-01-01T08:00:00")
    bare_page.show("token_stream", widget(text=""))
    page.clock.pause_at("2026-01-01T10:00:00")
    page.evaluate("text => update({ text })", "word " * 20)
    page.clock.run_for(20)
    assert len(log(page).text_content() or "") == 100


TOKENS = [
    token("The", None),
    token(" sure", -0.01, (" sure", -0.01), ("\u202e evil", -5.0)),
    token(" odd", -3.0, (" even", -0.2), ("\n", -2.0)),
]


def test_tokens_tell_how_likely_they_were(page: Page, bare_page: Any) -> None:
    request = {"type": "generate", "id": "g", "model": "demo", "prompt": "", "logprobs": 2}
    bare_page.show("token_stream", widget(text="The sure odd rest", tokens=TOKENS, state="completed", request=request))
    drawn(page)
    assert log(page).text_content() == "The sure odd rest"
    odd = log(page).locator("[data-level=unlikely]")
    assert odd.text_content() == " odd"
    lines = [
        log(page).locator(f"[data-level={level}]").evaluate("node => getComputedStyle(node).textDecorationLine")
        for level in ("sure", "unlikely")
    ]
    assert lines == ["none", "underline"]
    choices = page.get_by_role("status", name="Alternatives")
    odd.hover()
    assert choices.inner_text().split("\n") == ["“ odd” 5.0 %", "“ even” 81.9 %", "“↵” 13.5 %"]
    log(page).focus()
    page.keyboard.press("Tab")
    choices.get_by_text("99.0 %").first.wait_for()
    page.keyboard.press("ArrowRight")
    assert odd.evaluate("node => node === document.activeElement")
    choices.get_by_text("81.9 %").wait_for()
    page.keyboard.press("Home")
    choices.get_by_text("0.7 %").wait_for()
    choose(page, "Text")
    choices.wait_for(state="hidden")


def test_tokens_come_from_the_server_with_their_texts(page: Page, bare_page: Any) -> None:
    page.emulate_media(reduced_motion="reduce")
    server = ScriptedServer(page)
    server.add("st_1")
    request = {"type": "generate", "id": "g", "model": "demo", "prompt": "", "logprobs": 1}
    bare_page.show("token_stream", widget(server=True, request=request), config=CONFIG)
    stream = server.asked(1)

    def logprob(text: str, value: float) -> dict[str, Any]:
        return {"token_id": 1, "text": text, "logprob": value, "top": [{"token_id": 1, "text": text, "logprob": value}]}

    stream.bring("one", [logprob("one", -0.1)])
    stream.bring(" café", [logprob(" caf", -1.0), logprob("\ufffd", -2.0)])
    stream.end()
    page.get_by_text("Completed").wait_for()
    spans = log(page).locator("[data-level]")
    assert spans.all_text_contents() == ["one", " caf", "é"]
    page.get_by_role("button", name="Timings").click()
    rows = page.locator(".jp-TokenStream-timings > div").all_inner_texts()
    figures = dict(row.split("\n") for row in rows)
    assert figures == {
        "Queue": "1.0 ms",
        "Time to first token": "10 ms",
        "Between tokens, p50": "10 ms",
        "Between tokens, p95": "10 ms",
        "In all": "30 ms",
    }


def test_what_the_kernel_says_late_does_not_take_the_place_of_a_retry(page: Page, bare_page: Any) -> None:
    """A busy kernel told how the stopped stream had ended after Retry was pressed.

    The page then showed the stopped one, and left the new one running with nobody to stop it.
    """
    server = ScriptedServer(page)
    server.add("st_1")
    bare_page.show("token_stream", widget(server=True), config=CONFIG)
    first = server.asked(1)
    first.bring("first")
    first.end("cancelled", reason="client")
    page.get_by_role("button", name="Retry").click()
    second = server.asked(2)
    second.bring("second")
    page.get_by_text("second").wait_for()
    late = {"stream": "st_1", "text": "first", "state": "cancelled"}
    bare_page.update(**late)
    second.bring(" goes on")
    page.get_by_text("second goes on").wait_for()
    assert page.evaluate("window.traits.stream") == "st_2"
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped", exact=True).wait_for()
    assert second.cancelled
    assert log(page).inner_text() == "second goes on"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders_anybody(page: Page, bare_page: Any, scheme: str) -> None:
    figures = {"tokens": 3, "tokens_per_s": 1.0, "ttft_ms": 6.0, "queue_ms": 1.0, "duration_ms": 9.0}
    given = widget(text="The sure odd\n\n" + MARKDOWN, tokens=TOKENS, state="failed", figures=figures)
    bare_page.show("token_stream", given | {"error": {"code": "internal", "message": "It failed."}})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.add_style_tag(content="@media (prefers-color-scheme: dark) { body { background: #111 } }")
    page.get_by_role("button", name="Timings").click()
    for mode in ("Tokens", "Markdown"):
        choose(page, mode)
        drawn(page)
        assert violations(page) == []
