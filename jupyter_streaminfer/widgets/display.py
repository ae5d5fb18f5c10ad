"""Showing a stream as a cell's result."""

from __future__ import annotations

import threading
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from IPython.display import display

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.client.watched import watched
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets.bundle import WIDGET_MIME, stream_bundle, text_bundle
from jupyter_streaminfer.widgets.reach import page_reaches
from jupyter_streaminfer.widgets.snapshot import Snapshot


def display_stream(stream: ClientStream) -> None:
    """Show the stream, live where somebody watches, and leave its final text in the output.

    In a frontend this returns at once. Where nobody watches (a notebook run through by nbclient or nbval, a
    terminal) it waits for the end and shows the result once, so that such a run is the same every time.
    """
    if not watched():
        with suppress(StreaminferError):
            stream.wait()
    if stream.done:
        _show(stream)
    else:
        _show_live(stream)


def _show(stream: ClientStream) -> None:
    data, metadata = stream_bundle(Snapshot.of(stream))
    display(data, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]


def _show_live(stream: ClientStream) -> None:
    from jupyter_streaminfer.widgets.token_stream import TokenStream

    widget = TokenStream(stream)
    snapshot = Snapshot.of(stream)
    data: dict[str, Any]
    data, metadata = stream_bundle(snapshot) if page_reaches(stream) else (text_bundle(snapshot), {})
    data[WIDGET_MIME] = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    handle = display(data, metadata=metadata, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    # The update comes from the I/O thread, in a later cell perhaps: this context says which cell it belongs to.
    context = copy_context()
    once = threading.Lock()

    def finish(stream: ClientStream) -> None:
        if stream.done and once.acquire(blocking=False):
            data, metadata = stream_bundle(Snapshot.of(stream))
            context.run(handle.update, data, metadata=metadata, raw=True)
            widget.close()

    stream.add_listener(finish)
    finish(stream)
