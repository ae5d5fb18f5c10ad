"""The dashboard's kernel side: samples for pages that do not reach the server, and what a notebook keeps."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.protocol import Metrics, ModelMetrics, StreamsSample, StreamStatus
from jupyter_streaminfer.widgets import dashboard_text, metrics_mirror
from jupyter_streaminfer.widgets.dashboard import Dashboard
from jupyter_streaminfer.widgets.metrics_mirror import MAX_STREAMS, MAX_VIEWS

TIMEOUT_S = 30


class Page:
    """What the pages of a dashboard are sent, and what they ask for."""

    def __init__(self, widget: Dashboard) -> None:
        self._widget = widget
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        widget._mirror._send = self._messages.put

    def ask(self, **content: Any) -> None:
        self._widget._handle_custom_msg(content, [])

    def watch(self, *topics: str, view: str = "v") -> None:
        self.ask(type="watch", view=view, topics=list(topics))

    def next(self, kind: str) -> dict[str, Any]:
        """The next message of that type."""
        while True:
            message = self._messages.get(timeout=TIMEOUT_S)
            if message["type"] == kind:
                return message

    def drain(self) -> None:
        while not self._messages.empty():
            self._messages.get()


@pytest.fixture(scope="module")
def client(long_llama: Path) -> Iterator[Client]:
    with embedded() as client:
        client.load("tiny", long_llama)
        yield client


@pytest.fixture
def widget(client: Client) -> Any:
    widget = Dashboard(client)
    yield widget
    widget.close()


def test_a_page_that_reaches_no_server_is_sent_samples_for_as_long_as_it_asks(
    client: Client, widget: Dashboard, stream: ClientStream
) -> None:
    assert widget.server is False
    page = Page(widget)
    page.watch("metrics", "streams")
    assert page.next("state") == {"type": "state", "state": "live", "error": None}
    page.next("history")
    counted = client.metrics().traffic
    sample = msgspec.convert(page.next("metrics")["metrics"], Metrics)
    assert (sample.traffic.tokens_out, sample.traffic.requests) == (counted.tokens_out, counted.requests)
    assert sample.clients == []
    shown = {each["stream"]: each["tokens"] for each in page.next("streams")["streams"]}
    assert shown[stream.id] == 8
    page.watch()
    mirror = widget._mirror
    with mirror._settling:
        pass
    for _ in range(2):  # The thread that settles it may not have begun yet.
        page.drain()
        mirror._settle()
    assert mirror._subscription is None
    assert client.metrics().watchers == 0


def test_a_page_stops_a_stream(widget: Dashboard, long_stream: ClientStream) -> None:
    Page(widget).ask(type="cancel", stream=long_stream.id)
    long_stream.wait(TIMEOUT_S)
    assert long_stream.state == "cancelled"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"type": "watch"},
        {"type": "watch", "view": "v", "topics": ["secrets"]},
        {"type": "watch", "view": "v" * 1000, "topics": []},
        {"type": "watch", "view": "v", "topics": ["metrics"] * 9},
        {"type": "cancel", "stream": 7},
        {"type": "eval", "code": "1"},
        ["watch"],
    ],
)
def test_what_no_dashboard_sends_is_let_lie(widget: Dashboard, content: Any) -> None:
    widget._mirror.receive(content)
    assert widget._mirror._views == {}


def test_views_that_went_without_a_word_make_room(widget: Dashboard) -> None:
    page = Page(widget)
    for number in range(MAX_VIEWS + 5):
        page.watch("metrics", view=f"v{number}")
    assert list(widget._mirror._views) == [f"v{number}" for number in range(5, MAX_VIEWS + 5)]


def test_the_past_and_the_streams_are_cut_to_what_a_message_may_have(
    client: Client, widget: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = client.metrics()
    past = [msgspec.structs.replace(now, at=float(number)) for number in range(600)]
    monkeypatch.setattr(metrics_mirror, "HISTORY_BYTES", 5 * len(msgspec.json.encode(now)))
    sent = [sample["at"] for sample in metrics_mirror._newest(past)]
    assert sent == [float(number) for number in range(600 - len(sent), 600)]
    assert 4 <= len(sent) <= 6
    status = StreamStatus("st_1", "e", "tiny", "1", "open", 0, 0, 0, False, 1.0)
    page = Page(widget)
    widget._mirror._tell(StreamsSample([status] * (MAX_STREAMS + 3), 4))
    message = page.next("streams")
    assert (len(message["streams"]), message["left_out"]) == (MAX_STREAMS, 7)


def test_a_closed_client_is_said_to_have_failed() -> None:
    with embedded() as client:
        widget = Dashboard(client)
        page = Page(widget)
    page.watch("metrics")
    state = page.next("state")
    assert state["state"] == "failed"
    assert state["error"]["message"]
    widget.close()


def test_what_a_notebook_keeps_are_the_figures_of_the_engine(
    client: Client, widget: Dashboard, stream: ClientStream
) -> None:
    metrics = client.metrics()
    widget._metrics = metrics
    assert f"requests since the start: {metrics.traffic.requests}" in widget.text()
    assert "model tiny 1; running 0" in widget.text()
    assert "<td>tiny 1</td>" in widget.html()
    data, _ = widget._repr_mimebundle_()
    assert data["text/plain"] == widget.text()
    assert data["text/html"] == widget.html()
    assert "application/vnd.jupyter.widget-view+json" in data


def test_names_of_models_are_escaped(client: Client) -> None:
    metrics = client.metrics()
    hostile = "<script>alert(1)</script>"
    entry: ModelMetrics = msgspec.structs.replace(metrics.models[0], model=hostile)
    page = dashboard_text.as_html(msgspec.structs.replace(metrics, models=[entry]))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
