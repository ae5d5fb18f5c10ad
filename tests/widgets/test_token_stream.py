"""The widget's kernel side, over an engine in this process."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.discovery import URL_VARIABLE
from jupyter_streaminfer.widgets import TokenStream
from jupyter_streaminfer.widgets.mirror import INTERVAL_S

TIMEOUT_S = 30


class Watch:
    """Waits for what a widget's traits become."""

    def __init__(self, widget: TokenStream) -> None:
        self._widget = widget
        self._changed = threading.Condition()
        self.texts: list[float] = []
        widget.observe(self._note)

    def _note(self, change: Any) -> None:
        with self._changed:
            if change["name"] == "text":
                self.texts.append(time.monotonic())
            self._changed.notify_all()

    def until(self, **traits: object) -> None:
        def reached() -> bool:
            return all(getattr(self._widget, name) == value for name, value in traits.items())

        with self._changed:
            assert self._changed.wait_for(reached, TIMEOUT_S), {name: getattr(self._widget, name) for name in traits}

    def until_tokens(self, count: int) -> None:
        """An update sets one trait after the other: the figures were once read before they were of the text."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._widget.figures["tokens"] == count, TIMEOUT_S)


def receive(widget: TokenStream, kind: str) -> None:
    """What the page sends, as ipywidgets delivers it."""
    widget._handle_custom_msg({"type": kind}, [])


def test_a_finished_stream_is_shown_whole(stream: ClientStream) -> None:
    widget = TokenStream(stream)
    assert (widget.stream, widget.epoch, widget.text) == (stream.id, stream.epoch, stream.text)
    assert widget.state == "completed"
    assert widget.figures["tokens"] == 8
    assert widget.request["prompt"] == "The quick"


def test_a_deadline_is_shown_as_what_it_is(client: Client) -> None:
    stream = client.generate("tiny", "The", max_tokens=15_000, ignore_eos=True, deadlines={"total_ms": 200})
    widget = TokenStream(stream)
    watch = Watch(widget)
    watch.until(state="incomplete", error=None)
    assert widget.text == stream.text


def test_the_page_cannot_reach_an_engine_in_the_kernel(stream: ClientStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "http://localhost:8888/")
    assert TokenStream(stream).server is False


def test_snapshots_follow_at_a_bounded_rate_and_the_last_is_whole(client: Client) -> None:
    stream = client.generate("tiny", "The quick", max_tokens=400, seed=1, ignore_eos=True)
    widget = TokenStream(stream)
    watch = Watch(widget)
    stream.wait()
    watch.until(state="completed", text=stream.text)
    gaps = [later - sooner for sooner, later in zip(watch.texts, watch.texts[1:], strict=False)]
    assert all(gap > INTERVAL_S * 0.9 for gap in gaps[:-1]), gaps


def test_a_page_that_reads_by_itself_gets_only_the_last_snapshot(client: Client) -> None:
    stream = client.generate("tiny", "The quick", max_tokens=300, seed=1, ignore_eos=True)
    widget = TokenStream(stream)
    widget.direct = True
    watch = Watch(widget)
    stream.wait()
    watch.until(state="completed", text=stream.text)
    assert len(watch.texts) == 1


def test_stop_ends_the_stream(long_stream: ClientStream) -> None:
    widget = TokenStream(long_stream)
    watch = Watch(widget)
    receive(widget, "cancel")
    watch.until(state="cancelled")
    assert widget.text == long_stream.text
    assert widget.error is None


def test_retry_shows_a_new_stream_of_the_same_request(stream: ClientStream) -> None:
    widget = TokenStream(stream)
    watch = Watch(widget)
    with watch._changed:
        receive(widget, "retry")
        assert watch._changed.wait_for(lambda: widget.stream != stream.id, TIMEOUT_S)
    watch.until(state="completed", text=stream.text)


def test_a_retry_that_is_refused_says_why(client: Client, stream: ClientStream) -> None:
    widget = TokenStream(stream)
    watch = Watch(widget)
    client.unload("tiny")
    receive(widget, "retry")
    watch.until(state="failed")
    assert widget.error["code"] == "model_not_found"
    assert widget.text == stream.text


def test_a_stream_that_its_deadline_ended_is_continued_on_request(client: Client) -> None:
    """The text goes on after what is there, and what is there is told apart from what the new stream brings."""
    part = client.generate("tiny", "The", max_tokens=15_000, ignore_eos=True, seed=1, deadlines={"total_ms": 200})
    widget = TokenStream(part)
    watch = Watch(widget)
    watch.until(state="incomplete", resumable=True)
    with watch._changed:
        receive(widget, "continue")
        assert watch._changed.wait_for(lambda: widget.stream != part.id, TIMEOUT_S)
    watch.until(state="incomplete", begun={"text": part.text, "tokens": len(part.token_ids)})
    rest = client.attach(widget.stream).wait()
    assert rest.text
    watch.until(text=part.text + rest.text)
    watch.until_tokens(len(part.token_ids) + len(rest.token_ids))
