"""The widget `Dashboard`, drawn by its own script: from a server's WebSocket, or from what the kernel mirrors."""

from __future__ import annotations

import json
import math
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from accessibility import violations
from dashboard_samples import ALERT, history, idle, message, metrics, model, stream, told
from lab import wait_until

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.widgets.dashboard import Dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Page, WebSocketRoute

TALL: Any = {"width": 1200, "height": 1900}
LIVE = {"type": "state", "state": "live", "error": None}
HOSTILE = '<img src="x" onerror="document.title = \'run\'">'


@pytest.fixture
def show(bare_page: Any) -> Any:
    """Draws the dashboard with what the kernel sends it."""

    def show(*messages: dict[str, Any]) -> Page:
        bare_page.page.set_viewport_size(TALL)
        page: Page = bare_page.show("dashboard", {"server": False})
        page.wait_for_function("() => window.sent.some(each => each.type === 'watch')")
        for each in messages:
            bare_page.tell(each)
        return page

    return show


def card(page: Page, title: str) -> Any:
    return page.get_by_role("region", name=title, exact=True)


def figure(page: Page, panel: str, chart: str, line: str) -> Any:
    """The figure that a chart's legend has for a line."""
    plot = card(page, panel).locator("figure").filter(has_text=chart)
    return plot.locator(".jp-Streaminfer-legendItem").filter(has_text=line).locator(".jp-Streaminfer-legendValue")


@pytest.fixture
def client(tiny_llama: Path) -> Iterator[Client]:
    with embedded() as client:
        client.load("tiny", tiny_llama)
        yield client


def test_every_figure_is_a_recount_of_the_streams_that_there_were(bare_page: Any, client: Client) -> None:
    """The way of VS Code and Colab: no server, the kernel mirrors. What is shown is what the streams' events say."""
    streams = [client.generate("tiny", "The quick", max_tokens=40, ignore_eos=True) for _ in range(6)]
    for each in streams:
        each.wait()
    messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    widget = Dashboard(client)
    widget._mirror._send = messages.put
    bare_page.page.set_viewport_size(TALL)
    page = bare_page.show("dashboard", {"server": widget.server})
    page.wait_for_function("() => window.sent.some(each => each.type === 'watch')")
    for sent in bare_page.sent:
        widget._receive(widget, sent, [])
    seen: set[str] = set()
    while not seen >= {"state", "history", "metrics", "streams"}:
        each = messages.get(timeout=30)
        bare_page.tell(each)
        seen.add(each["type"])
    widget.close()

    headline = page.locator(".jp-Streaminfer-headline")
    headline.get_by_text("requests").locator("..").get_by_text("6", exact=True).wait_for()
    ttfts = sorted(each.at_ms[0] for each in streams)
    shown = figure(page, "Latency", "Time to first token", "p99").inner_text()
    number, unit = shown.split()
    assert unit == "ms"
    at_p99 = ttfts[math.floor(0.99 * (len(ttfts) - 1))]
    assert float(number) == pytest.approx(at_p99, rel=0.015), "within the sketch's 1 %, and three digits"
    page.get_by_role("status").filter(has_text="Live").wait_for()
    rows = page.locator("tr.jp-Streaminfer-stream")
    rows.first.wait_for()
    tokens = rows.locator("td:nth-child(5)").all_inner_texts()
    assert tokens == ["40"] * 6
    by_time = sorted(streams, key=lambda each: next(s.began for s in client.streams() if s.stream == each.id))
    for row, each in zip(rows.all(), reversed(by_time), strict=True):
        number, unit = row.locator("td:nth-child(7)").inner_text().split()
        assert unit == "ms"
        assert float(number) == pytest.approx(each.at_ms[0], rel=0.01, abs=0.01)


def test_an_engine_to_which_nobody_came_says_what_to_do(show: Any) -> None:
    page = show(LIVE, told(history(**idle())), message("streams", []))
    card(page, "Latency").get_by_text('No model is loaded yet: client.load("demo") loads one.').wait_for()
    card(page, "Streams").get_by_text("No stream is open").wait_for()
    card(page, "Errors").get_by_text("No alert fires.").wait_for()
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_busy_engine_is_shown_whole_and_readable_in_both_themes(
    show: Any, page: Page, scheme: Any, pictures: Path
) -> None:
    page.emulate_media(color_scheme=scheme)
    show(LIVE, told(history(alerts=[ALERT])), message("streams", [stream(number) for number in range(100)], left_out=3))
    page.evaluate("scheme => { document.body.style.background = scheme === 'dark' ? '#111' : '#fff'; }", scheme)
    card(page, "Errors").get_by_text(ALERT.message).wait_for()
    card(page, "Streams").get_by_text("100 open; 3 older ones").wait_for()
    figure(page, "Latency", "Time between tokens", "p50").get_by_text("ms").wait_for()
    assert page.locator(".jp-Streaminfer-plot canvas").count() >= 9
    label = card(page, "Latency").get_by_role("img").first.get_attribute("aria-label")
    assert label is not None
    assert label.startswith("Time to first token: p50 ")
    assert violations(page) == []
    page.screenshot(path=pictures / f"dashboard-{scheme}.png")


def test_it_says_when_it_is_cut_off_and_when_it_has_failed(show: Any, bare_page: Any) -> None:
    page = show(LIVE, told(history()))
    page.get_by_role("status").filter(has_text="Live").wait_for()
    bare_page.tell({"type": "state", "state": "disconnected", "error": None})
    page.get_by_role("status").filter(has_text="Reconnecting…").wait_for()
    assert page.locator(".jp-Streaminfer-panel[data-state=disconnected]").count() == 8
    problem = f"The kernel has no engine {HOSTILE}"
    bare_page.tell({"type": "state", "state": "failed", "error": {"code": "internal", "message": problem}})
    page.get_by_role("alert").filter(has_text=problem).wait_for()
    assert violations(page) == []
    asked = len(bare_page.sent)
    page.get_by_role("button", name="Try again").click()
    assert bare_page.sent[asked:] == [{**bare_page.sent[asked], "type": "watch", "topics": ["metrics", "streams"]}]
    page.get_by_role("status").filter(has_text="Connecting…").wait_for()


def test_names_are_text_whatever_they_are(show: Any) -> None:
    models = [model(HOSTILE), model("demo")]
    broken = "\u202eright to left\u0007 \ud800"
    streams = [stream(1, client=HOSTILE, model=HOSTILE), stream(2, client="x" * 5000)]
    page = show(LIVE, told(history(models=models)), message("streams", streams))
    page.evaluate("name => window.tell({ type: 'streams', streams: [] }, [])", broken)
    page.wait_for_function("() => document.querySelectorAll('.jp-Streaminfer-plot canvas').length > 5")
    assert page.locator("img").count() == 0
    assert page.title() == "A page"
    assert page.get_by_label("Model").locator("option").all_inner_texts() == ["All models", HOSTILE, "demo"]


def test_one_model_or_one_version_of_it_is_shown_alone(show: Any) -> None:
    models = [model("demo", 10.0, 2.0), model("demo", 20.0, 4.0, version="2"), model("other", 40.0, 8.0)]
    page = show(LIVE, told(history(models=models)))
    picker = page.get_by_label("Model")
    rate = figure(page, "Throughput", "Tokens", "out")
    picker.select_option(label="other")
    rate.get_by_text("40/s", exact=True).wait_for()
    figure(page, "Latency", "Time between tokens", "p95").get_by_text("14.4 ms", exact=True).wait_for()
    picker.select_option(label="demo")
    rate.get_by_text("30/s", exact=True).wait_for()
    figure(page, "Latency", "Time between tokens", "p95, slowest version").get_by_text("7.2 ms", exact=True).wait_for()
    picker.select_option(label="demo 2")
    rate.get_by_text("20/s", exact=True).wait_for()
    picker.select_option(label="All models")
    assert page.get_by_label("Time", exact=True).input_value() == "300"


def test_a_stream_is_stopped_and_the_focus_stays_in_the_table(show: Any, bare_page: Any) -> None:
    streams = [stream(number) for number in range(1, 151)]
    page = show(LIVE, told(history()), message("streams", streams))
    page.locator("tr.jp-Streaminfer-stream").nth(149).wait_for(state="attached")
    stop = page.get_by_role("button", name="Stop the stream st_3 of demo")
    stop.focus()
    page.keyboard.press("Enter")
    assert bare_page.sent[-1] == {"type": "cancel", "stream": "st_3"}
    focused = "document.activeElement.getAttribute('aria-label')"
    assert stop.is_disabled() or page.evaluate(focused) == "Stop the stream st_3 of demo"
    bare_page.tell(message("streams", [stream(0), *streams]))
    page.locator("tr.jp-Streaminfer-stream").nth(150).wait_for(state="attached")
    page.get_by_role("button", name="Stop the stream st_5 of demo").focus()
    bare_page.tell(message("streams", [each for each in streams if each.stream != "st_5"]))
    page.wait_for_function(f"() => {focused} === 'Open streams'")


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (1200, ["State", "Model", "Client", "Age", "Tokens", "Rate", "TTFT", "Time: queue, prefill, tokens"]),
        (800, ["State", "Model", "Age", "Tokens", "Rate", "Time: queue, prefill, tokens"]),
        (640, ["State", "Model", "Age", "Tokens", "Rate"]),
        (360, ["State", "Model", "Tokens"]),
    ],
)
def test_in_a_narrow_page_nothing_scrolls_sideways(
    show: Any, page: Page, width: int, headings: list[str], pictures: Path
) -> None:
    """In half a window the streams' table was cut off at its rate, and Stop was out of sight."""
    show(LIVE, told(history()), message("streams", [stream(number) for number in range(100)]))
    page.set_viewport_size({"width": width, "height": 900})
    table = page.get_by_role("region", name="Open streams")
    stop = table.get_by_role("button", name="Stop the stream st_1 of demo")
    stop.wait_for()
    assert [each.inner_text() for each in table.get_by_role("columnheader").all()] == headings
    beyond = "node => node.scrollWidth - node.clientWidth"
    assert table.evaluate(beyond) <= 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    card(page, "Streams").screenshot(path=pictures / f"dashboard-streams-{width}.png")


def test_what_is_beneath_stays_where_it_is_however_many_streams_there_are(show: Any, bare_page: Any) -> None:
    """The widget grew with each stream that began, and what was read below it went away from under the eyes."""
    page = show(LIVE, told(history()), message("streams", []))
    streams = card(page, "Streams")
    streams.get_by_text("No stream is open").wait_for()
    empty = page.locator(".jp-Streaminfer-dashboard").bounding_box()
    for count in (1, 150):
        bare_page.tell(message("streams", [stream(number) for number in range(count)]))
        streams.get_by_text(f"{count} open").wait_for()
        assert page.locator(".jp-Streaminfer-dashboard").bounding_box() == empty
    assert streams.get_by_text("150 open").is_visible()
    assert page.get_by_role("region", name="Open streams").evaluate("node => node.scrollHeight > node.clientHeight")


def test_nothing_is_drawn_where_nobody_sees_it(show: Any, bare_page: Any) -> None:
    page = show()
    page.evaluate("document.getElementById('widget').style.display = 'none'")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("document.querySelectorAll('.jp-Streaminfer-plot canvas').forEach(each => each.width = 1)")
    for each in history(5):
        bare_page.tell(message("metrics", each))
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    widths = "[...document.querySelectorAll('.jp-Streaminfer-plot canvas')].every(each => each.width === 1)"
    assert page.evaluate(widths)
    page.evaluate("document.getElementById('widget').style.display = ''")
    figure(page, "Latency", "Time to first token", "p50").get_by_text("ms").wait_for()


def test_samples_that_are_missing_leave_a_gap_and_not_a_line(show: Any) -> None:
    """A line through a minute of which nothing is known would be a figure that nobody measured."""
    samples = history(60)
    page = show(LIVE, told(samples[:20] + samples[40:]))
    figure(page, "Machine", "Event loop lag", "worst").get_by_text("2.5 ms").wait_for()
    marks = """() => {
      const canvas = [...document.querySelectorAll('figure')]
        .find(each => each.textContent.startsWith('Event loop lag'))
        .querySelector('canvas');
      const { width, height } = canvas;
      const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
      const coloured = x => Array.from({ length: height - 60 }, (_, y) => 4 * (y * width + x))
        .some(i => data[i + 3] > 100 && data[i + 2] > data[i] + 60);
      return Array.from({ length: width }, (_, x) => coloured(x));
    }"""
    page.get_by_label("Time", exact=True).select_option("60")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_function(f"() => ({marks})().some(Boolean)")
    drawn = page.evaluate(marks)
    first, last = drawn.index(True), len(drawn) - drawn[::-1].index(True)
    longest = max(len(part) for part in "".join("x" if each else " " for each in drawn[first:last]).split("x"))
    assert longest > (last - first) / 4


def test_a_widget_that_goes_asks_for_nothing_more(show: Any, bare_page: Any) -> None:
    page = show(LIVE)
    page.evaluate("window.leave()")
    assert bare_page.sent[-1] == {**bare_page.sent[0], "topics": []}
    assert page.evaluate("window.listening()") == 0
    assert page.locator(".jp-Streaminfer").count() == 0


class Server:
    """The WebSocket of a server, as far as watching goes."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.received: list[dict[str, Any]] = []
        self.sockets: list[WebSocketRoute] = []
        page.route_web_socket("**/streaminfer/ws?*", self._connect)

    def _connect(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.on_message(self._receive)

    def _receive(self, text: str | bytes) -> None:
        request = json.loads(text)
        self.received.append(request)
        if request["type"] == "watch":
            samples = json.loads(json.dumps(told(history(30))["samples"])) if request["history_s"] else []
            self.send({"type": "watching", "id": request["id"], "interval_s": 1.0, "history": samples})

    def send(self, content: dict[str, Any]) -> None:
        self.sockets[-1].send(json.dumps(content))

    @property
    def watches(self) -> list[dict[str, Any]]:
        return [each for each in self.received if each["type"] == "watch"]


def test_the_page_reads_from_its_own_server_and_comes_back_with_the_past(bare_page: Any) -> None:
    page = bare_page.page
    page.set_viewport_size(TALL)
    server = Server(page)
    config = {"wsUrl": "ws://jupyter.invalid/lab/", "token": "t"}
    bare_page.show("dashboard", {"server": True}, config=config)
    page.get_by_role("status").filter(has_text="Live").wait_for()
    (watch,) = server.watches
    assert (watch["topics"], watch["history_s"]) == (["metrics", "streams"], 600)
    assert bare_page.sent == [], "nothing goes through the kernel"
    server.send(message("metrics", metrics(4e9)))
    server.sockets[-1].close()
    page.get_by_role("status").filter(has_text="Reconnecting…").wait_for()
    page.get_by_role("status").filter(has_text="Live").wait_for()
    assert [each["history_s"] for each in server.watches] == [600, 600]
    server.send(message("streams", [stream(1)]))
    page.get_by_role("button", name="Stop the stream st_1 of demo").click()
    wait_until(lambda: page.wait_for_timeout(10) or server.received[-1]["type"] == "cancel")
    assert server.received[-1]["stream"] == "st_1"
