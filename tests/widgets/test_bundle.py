"""What a saved notebook holds of a stream."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.protocol import ErrorInfo
from jupyter_streaminfer.widgets.bundle import STREAM_MIME, stream_bundle, text_bundle
from jupyter_streaminfer.widgets.snapshot import Figures, Snapshot


def snapshot(**changes: Any) -> Snapshot:
    fields: dict[str, Any] = {
        "stream": "st_1",
        "epoch": "e",
        "request": None,
        "begun": None,
        "text": "a text",
        "state": "completed",
        "figures": Figures.of([]),
        "error": None,
        "progress": None,
        "resumable": False,
    }
    return Snapshot(**(fields | changes))


def test_a_finished_stream_is_its_text() -> None:
    assert text_bundle(snapshot())["text/plain"] == "a text"


def test_model_output_is_escaped_in_html() -> None:
    page = text_bundle(snapshot(text="<script>alert('&')</script>"))["text/html"]
    assert "<script>" not in page
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in page


def test_an_error_is_shown_with_what_came_before_it() -> None:
    bundle = text_bundle(snapshot(state="failed", error=ErrorInfo("worker_lost", "The <worker> ended.")))
    assert bundle["text/plain"] == "a text\n\n[failed: The <worker> ended.]"
    assert "a text" in bundle["text/html"]
    assert "[failed: The &lt;worker&gt; ended.]" in bundle["text/html"]


def test_a_stopped_stream_says_so() -> None:
    assert text_bundle(snapshot(state="cancelled"))["text/plain"] == "a text\n\n[stopped]"


def test_a_stream_that_a_deadline_ended_says_so() -> None:
    assert text_bundle(snapshot(state="incomplete"))["text/plain"] == "a text\n\n[incomplete: its time was over]"


def test_data_is_the_same_for_the_same_text_and_metadata_names_the_stream(stream: ClientStream) -> None:
    """A stream's id among an output's data would make each run differ from the last one under nbval."""
    again = stream.retry().wait()
    data, metadata = stream_bundle(Snapshot.of(stream))
    assert stream_bundle(Snapshot.of(again))[0] == data
    assert metadata[STREAM_MIME]["stream"] == stream.id != again.id
    assert metadata[STREAM_MIME]["request"] == msgspec.to_builtins(stream.request)


def test_figures_count_from_the_first_token() -> None:
    assert Figures.of([6.0, 16.0, 26.0]) == Figures(3, 100.0, 6.0, 10.0, 10.0)
    assert Figures.of([6.0]) == Figures(1, None, 6.0)
    assert Figures.of([]) == Figures(0, None, None)
    assert Figures.of([6.0, 16.0], before=5) == Figures(7, 100.0, 6.0, 10.0, 10.0)
