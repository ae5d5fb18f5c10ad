"""The timeline's kernel side: what it sends is what the streams' events say."""

from __future__ import annotations

import queue
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets.timeline import MAX_STREAMS, MESSAGE_TOKENS, Timeline
from jupyter_streaminfer.widgets.timeline_text import as_html, as_text
from jupyter_streaminfer.widgets.track import Row

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def client(long_llama: Path) -> Iterator[Client]:
    with embedded() as client:
        client.load("tiny", long_llama)
        yield client


class Page:
    """What a page makes of the messages."""

    def __init__(self, widget: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self._messages: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        monkeypatch.setattr(widget, "send", lambda content, buffers: self._messages.put((content, buffers)))
        self.times: dict[int, list[float]] = {}
        self.texts: dict[int, list[str]] = {}
        self.largest = 0
        widget._handle_custom_msg({"type": "show"}, [])

    def read(self) -> None:
        """Take the next message."""
        content, (buffer,) = self._messages.get(timeout=TIMEOUT_S)
        numbers = array("d", buffer)
        self.largest = max(self.largest, len(numbers))
        begin = 0
        for part in content["parts"]:
            stream, first, texts = part["stream"], part["first"], part["texts"]
            assert first <= len(self.times.get(stream, []))
            self.times[stream] = self.times.get(stream, [])[:first] + list(numbers[begin : begin + len(texts)])
            self.texts[stream] = self.texts.get(stream, [])[:first] + texts
            begin += len(texts)
        assert begin == len(numbers)

    def read_until(self, tokens: dict[int, int]) -> None:
        while any(len(self.times.get(stream, [])) < count for stream, count in tokens.items()):
            self.read()


def test_every_token_is_sent_with_its_time_and_text(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a page that comes later gets all of them."""
    streams = [client.generate("tiny", "The quick", max_tokens=count, ignore_eos=True) for count in (5, 80)]
    widget = Timeline(streams)
    for _ in range(2):
        page = Page(widget, monkeypatch)
        page.read_until({0: 5, 1: 80})
        assert page.times == {index: stream.at_ms for index, stream in enumerate(streams)}
        assert ["".join(page.texts[index]) for index in (0, 1)] == [stream.text for stream in streams]
    widget.close()


def test_rows_are_a_recount_of_the_events(client: Client) -> None:
    stream = client.generate("tiny", "The quick", max_tokens=30, ignore_eos=True).wait()
    widget = Timeline(stream)
    widget.settle()
    (row,) = widget._current()
    (status,) = (each for each in client.streams() if each.stream == stream.id)
    assert stream.timings is not None
    gaps = np.diff(stream.at_ms)
    assert (row.id, row.model, row.state, row.tokens) == (stream.id, "tiny", "completed", 30)
    assert (row.began, row.queue_ms, row.duration_ms) == (
        status.began, stream.timings.queue_ms, stream.timings.duration_ms
    )  # fmt: skip
    assert row.ttft_ms == stream.at_ms[0]
    assert row.itl_mean_ms == pytest.approx(gaps.mean())
    assert row.itl_max_ms == pytest.approx(gaps.max())
    widget.close()


def test_an_open_stream_grows_in_messages_of_a_bounded_size(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = client.generate("tiny", "The quick", max_tokens=ENDLESS, ignore_eos=True)
    widget = Timeline([stream])
    page = Page(widget, monkeypatch)
    page.read_until({0: 1})
    seen = len(page.times[0])
    page.read_until({0: seen + 1})
    stream.cancel()
    stream.wait()
    page.read_until({0: len(stream.at_ms)})
    assert page.times[0] == stream.at_ms
    assert page.largest <= MESSAGE_TOKENS
    widget.close()


def test_a_closed_one_follows_nothing(client: Client, long_stream: ClientStream) -> None:
    widget = Timeline([long_stream])
    thread = widget._thread
    assert thread is not None
    widget.close()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    assert long_stream._listeners == []


def test_too_many_streams_are_refused(stream: ClientStream) -> None:
    with pytest.raises(StreaminferError) as refused:
        Timeline([stream] * (MAX_STREAMS + 1))
    assert refused.value.info.field == "streams"
    assert f"{MAX_STREAMS}" in refused.value.info.message


def test_what_a_notebook_keeps_is_text_and_escaped_html() -> None:
    row = Row("st_1", "<script>alert(1)</script>", "completed", 1.0, 1.0, 2.0, 3.0, 4, None, None)
    page = as_html([row] * 300)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "100 more streams are not listed." in page
    head, line, *_ = as_text([row]).splitlines()
    assert head.split()[:3] == ["stream", "model", "state"]
    assert line.split() == ["st_1", "<script>alert(1)</script>", "completed", "1.0", "2.0", "4", "–", "–", "3.0"]


def test_no_stream_is_a_timeline_too() -> None:
    widget = Timeline([])
    assert widget.rows == []
    assert widget.text().startswith("stream")
    widget.close()
