"""The widget: a stream on the page, for every frontend that shows ipywidgets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import msgspec
import traitlets

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets.mirror import Mirror
from jupyter_streaminfer.widgets.reach import page_reaches
from jupyter_streaminfer.widgets.snapshot import Snapshot

STATIC = Path(__file__).parent / "static"


class TokenStream(anywidget.AnyWidget):
    """Shows a stream as it comes: as text, as Markdown, or with how likely each token was; with Stop, Retry and Copy.

    On a page of the Jupyter server that has the stream, the page reads it from there by itself, so it moves
    and can be stopped while the kernel is busy. Elsewhere it shows the snapshots that the kernel sends.
    """

    _esm = STATIC / "token_stream.js"
    _css = STATIC / "token_stream.css"

    stream = traitlets.Unicode().tag(sync=True)
    """The stream's id."""
    epoch = traitlets.Unicode().tag(sync=True)
    server = traitlets.Bool().tag(sync=True)
    """Whether the server of the page has the stream."""
    request = traitlets.Dict(allow_none=True).tag(sync=True)
    """The `Generate` or `Run` that started it, for Retry; None where it is unknown."""
    begun = traitlets.Dict(allow_none=True).tag(sync=True)
    """``text`` and ``tokens`` of the streams that this one goes on after, which are part of what is shown, or None."""
    text = traitlets.Unicode().tag(sync=True)
    state = traitlets.Unicode().tag(sync=True)
    """``connecting``, ``streaming``, ``completed``, ``incomplete``, ``cancelled``, ``failed`` or ``disconnected``."""
    figures = traitlets.Dict(allow_none=True).tag(sync=True)
    """A `snapshot.Figures` so far."""
    progress = traitlets.Dict(allow_none=True).tag(sync=True)
    """``value``, 0 to 1, and ``message`` of a run that tells its progress, or None."""
    error = traitlets.Dict(allow_none=True).tag(sync=True)
    """The `ErrorInfo` of what went wrong, or None."""
    resumable = traitlets.Bool().tag(sync=True)
    """Whether another stream may go on where this one stopped."""
    tokens: traitlets.List[Any] = traitlets.List(None, allow_none=True).tag(sync=True)
    """How likely the first tokens were (`tokens.Token`), or None where that was not asked for."""
    direct = traitlets.Bool().tag(sync=True)
    """Set by a page that reads the stream by itself: it needs no snapshot but the last."""

    def __init__(self, stream: ClientStream, **kwargs: Any) -> None:
        """``stream`` is what a client's ``generate`` or ``attach`` returned."""
        self._shown = stream
        super().__init__(server=page_reaches(stream), **Snapshot.of(stream).as_json(), **kwargs)
        self.on_msg(self._receive)
        self._follow(stream)

    def _follow(self, stream: ClientStream) -> None:
        """Mirror a stream to the page until it ends."""
        self._shown = stream
        self._mirror = Mirror(stream, self._put, quiet=lambda: self.direct)

    def _put(self, snapshot: Snapshot) -> None:
        with self.hold_sync():
            for name, value in snapshot.as_json().items():
                setattr(self, name, value)

    def _receive(self, widget: object, content: dict[str, Any], buffers: object) -> None:
        """Stop, retry or continue for a page that cannot ask the server itself; waits for nothing."""
        match content.get("type"):
            case "cancel":
                self._shown.cancel(wait=False)
            case "retry" if self._shown.done:
                self._start(self._shown.retry)
            case "continue" if self._shown.done:
                self._start(self._shown.resume)

    def _start(self, start: Callable[[], ClientStream]) -> None:
        threading.Thread(target=self._show_next, args=(start,), name="streaminfer-retry", daemon=True).start()

    def _show_next(self, start: Callable[[], ClientStream]) -> None:
        try:
            stream = start()
        except StreaminferError as error:
            with self.hold_sync():
                self.state, self.error = "failed", msgspec.to_builtins(error.info)
            return
        self.direct = False
        self._follow(stream)
