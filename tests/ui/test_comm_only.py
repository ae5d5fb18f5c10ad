"""Widgets where the page reaches no server, as in VS Code and in Colab: real widgets, over their comms alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer import widgets
from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.client.discovery import URL_VARIABLE

if TYPE_CHECKING:
    from comm_page import CommPage

BYTES_PER_S = 1_000_000
"""Above this a Jupyter server drops messages by default."""
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def client(long_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = copytree(long_llama, tmp_path_factory.mktemp("models") / "chatty")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    with embedded() as client:
        client.load("tiny", folder)
        client.load("digits")
        yield client


@pytest.fixture
def comms(bare_page: Any, monkeypatch: pytest.MonkeyPatch) -> CommPage:
    from comm_page import CommPage

    # A server that started this kernel, which the page is none of.
    monkeypatch.setenv(URL_VARIABLE, "http://localhost:8888/")
    return CommPage(bare_page, monkeypatch)


def endless(client: Client, **options: Any) -> ClientStream:
    return client.generate("tiny", "The quick", max_tokens=ENDLESS, ignore_eos=True, seed=1, **options)


def token_stream(comms: CommPage, client: Client) -> Any:
    widget = widgets.TokenStream(endless(client))
    page = comms.show(widget)
    log = page.get_by_role("log")
    comms.until(lambda: len(log.inner_text()) > 20, "text")
    page.get_by_role("button", name="Stop").click()
    comms.until_shown("Stopped")
    first = widget.stream
    comms.until(lambda: log.text_content() == widget.text, "the whole text")
    page.get_by_role("button", name="Retry").click()
    comms.until(lambda: widget.stream != first and widget.state == "streaming", "another stream")
    comms.until_shown("Streaming")
    page.get_by_role("button", name="Stop").click()
    comms.until(lambda: widget.state == "cancelled", "the end")
    comms.until_shown("Stopped")
    assert [message["type"] for message in comms.heard] == ["cancel", "retry", "cancel"]
    return widget


def chat(comms: CommPage, client: Client) -> Any:
    widget = widgets.Chat(client, "tiny", max_tokens=ENDLESS, ignore_eos=True, seed=1)
    page = comms.show(widget)
    page.get_by_role("textbox", name="Message", exact=True).fill("Hello")
    page.keyboard.press("Enter")
    log = page.locator(".jp-TokenStream").get_by_role("log")
    comms.until(lambda: log.count() and len(log.inner_text()) > 20, "an answer")
    page.get_by_role("button", name="Stop").click()
    comms.until(lambda: widget.streams[0].state == "cancelled", "the end")
    comms.until_shown("Stopped")
    assert widget.messages[0] == {"role": "user", "content": "Hello"}
    return widget


def compare(comms: CommPage, client: Client) -> Any:
    options = {"max_tokens": ENDLESS, "ignore_eos": True, "temperature": [0.0, 1.0], "seed": 1}
    widget = widgets.Compare(client, "The quick", ["tiny"], **options)
    page = comms.show(widget)
    logs = page.get_by_role("log")
    comms.until(lambda: logs.count() == 2 and all(len(each.inner_text()) > 20 for each in logs.all()), "two texts")
    page.get_by_role("button", name="Stop all").click()
    comms.until(lambda: all(stream.state == "cancelled" for stream in widget.streams), "their ends")
    comms.until(lambda: comms.text.count("Stopped") == 2)
    return widget


def dashboard(comms: CommPage, client: Client) -> Any:
    stream = endless(client)
    widget = widgets.Dashboard(client)
    page = comms.show(widget)
    stop = page.get_by_role("button", name=f"Stop the stream {stream.id}")
    comms.until(stop.count, "the stream's row")
    comms.until_shown("tiny")
    stop.click()
    comms.until(lambda: stream.state == "cancelled", "the end")
    comms.until(lambda: not stop.is_visible(), "its leave")
    return widget


def timeline(comms: CommPage, client: Client) -> Any:
    streams = [client.generate("tiny", "The", max_tokens=20, ignore_eos=True).wait(), endless(client)]
    widget = widgets.Timeline(streams)
    page = comms.show(widget)
    comms.until_shown("2 streams")
    streams[1].cancel()
    comms.until(lambda: [row["state"] for row in widget.rows] == ["completed", "cancelled"], "the end")
    tokens = sum(len(stream.token_ids) for stream in streams)
    comms.until(lambda: f"{tokens:,} tokens".replace(",", "") in page.inner_text("main").replace(",", ""), f"{tokens}")
    return widget


def review(comms: CommPage, client: Client) -> Any:
    rows = np.random.default_rng(0).uniform(0, 16, (50, 64)).astype(np.float32)
    widget = widgets.Review(client, "digits", rows)
    page = comms.show(widget)
    comms.until_shown("Row ")
    for judged in range(1, 40):
        page.get_by_role("button", name="Confirm").click()
        comms.until(lambda judged=judged: widget.figures["judged"] == judged, f"{judged}")
    comms.until_shown("39 of 50 judged", "Agreement 100 %")
    assert widget.to_frame()["decision"].eq("confirmed").sum() == 39
    return widget


def progress(comms: CommPage, client: Client) -> Any:
    widget = widgets.Progress(2, show=False)
    comms.show(widget)
    comms.until_shown("Not begun")
    with widget:
        for epoch in widget:
            widget.log(loss=1 / epoch)
            stream = widget.sample(endless(client), "a sample")
            comms.until_shown("Running", f"epoch {epoch} of 2", f"Epoch {epoch} · a sample …")
            comms.until(lambda: len(widget.samples[0]["text"]) > 20)
            stream.cancel()
    comms.until_shown("Completed", "0.5", "Epoch 2 · a sample (cancelled)")
    assert comms.page.get_by_role("progressbar").get_attribute("aria-valuenow") == "100"
    return widget


EXERCISES: dict[str, Callable[[CommPage, Client], Any]] = {
    "TokenStream": token_stream,
    "Chat": chat,
    "Compare": compare,
    "Dashboard": dashboard,
    "Timeline": timeline,
    "Review": review,
    "Progress": progress,
}


@pytest.mark.parametrize("name", EXERCISES)
def test_it_works_over_its_comm_alone(name: str, comms: CommPage, client: Client) -> None:
    asked: list[str] = []
    page = comms.page
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.on("request", lambda request: asked.append(request.url[:80]))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    began = time.monotonic()
    widget = EXERCISES[name](comms, client)
    assert type(widget).__name__ == name
    assert not getattr(widget, "server", False)
    assert not getattr(widget, "direct", False)
    assert errors == []
    assert [url for url in asked if not url.startswith("data:")] == []
    assert widget.comm.bytes / max(1.0, time.monotonic() - began) < BYTES_PER_S
    widget.close()


def test_no_widget_is_left_out() -> None:
    assert set(EXERCISES) == set(widgets.__all__) - {"display_stream"}
