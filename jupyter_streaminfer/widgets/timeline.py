"""The widget that shows many streams below each other over time."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import traitlets

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets.saved import SavedView
from jupyter_streaminfer.widgets.timeline_text import as_html, as_text
from jupyter_streaminfer.widgets.token_stream import STATIC
from jupyter_streaminfer.widgets.track import Row, Track

MAX_STREAMS = 500
INTERVAL_S = 0.25
"""Between two messages to the page; of more than `SMOOTH_STREAMS` it is longer, as each has a row to be sent."""
SMOOTH_STREAMS = 100
MESSAGE_TOKENS = 4_000
"""Of one message: 0.2 MB at most, so that all stay under the 1 MB/s above which a Jupyter server drops messages."""
ASK_S = 1.0
"""Between two questions to the engine about streams that it knows more of."""
SETTLE_S = 60.0


class Timeline(SavedView):
    """A waterfall of streams: how long each waited, its prefill, and each of its tokens.

    Point at a token to read it; zoom and move with the mouse or the keyboard. Open streams grow as they come.
    """

    _esm = STATIC / "timeline.js"
    _css = STATIC / "timeline.css"

    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    """A `Row` for each stream, in the order in which they were given."""

    def __init__(self, streams: Sequence[ClientStream] | ClientStream, **kwargs: Any) -> None:
        """``streams``: at most `MAX_STREAMS`, each what a client's ``generate``, ``run`` or ``attach`` returned."""
        streams = [streams] if isinstance(streams, ClientStream) else list(streams)
        self._tracks = [Track(stream) for stream in streams]
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = False
        self._removers: list[Callable[[], None]] = []
        if len(streams) > MAX_STREAMS:
            raise StreaminferError(
                "too_large", f"A timeline shows at most {MAX_STREAMS} streams, not {len(streams)}.", field="streams"
            )
        super().__init__(**kwargs)
        self.on_msg(self._receive)
        self._removers = [stream.add_listener(self._on_change) for stream in streams]
        self._update()
        self._start()

    def text(self) -> str:
        """A line for each stream."""
        return as_text(self._current())

    def html(self) -> str:
        """A table of the streams."""
        return as_html(self._current())

    def settle(self) -> None:
        """Wait for the streams to end, at most `SETTLE_S`."""
        until = time.monotonic() + SETTLE_S
        for track in self._tracks:
            with suppress(StreaminferError, TimeoutError):
                track.stream.wait(max(0.0, until - time.monotonic()))
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Follow the streams no longer; the notebook keeps how they stand."""
        self._closing.set()
        self._changed.set()
        for remove in self._removers:
            remove()
        super().close()

    def _current(self) -> list[Row]:
        return msgspec.convert(self.rows, list[Row])

    def _on_change(self, stream: ClientStream) -> None:
        self._changed.set()

    def _receive(self, widget: object, content: dict[str, Any], buffers: object) -> None:
        """A page begins to show it: it needs all tokens. Waits for nothing."""
        if content.get("type") == "show":
            self._again = True
            self._changed.set()
            self._start()

    def _start(self) -> None:
        """See that a thread follows the streams, where there is anything to follow."""
        with self._starting:
            if self._thread is None and not self._closing.is_set() and self._tracks:
                self._changed.set()
                self._thread = threading.Thread(target=self._follow, name="streaminfer-timeline", daemon=True)
                self._thread.start()

    def _follow(self) -> None:
        """Send what is new, a few times a second, until there will be nothing new."""
        ask_at = 0.0
        interval = INTERVAL_S * max(1.0, len(self._tracks) / SMOOTH_STREAMS)
        while True:
            # Looked at before what they have is taken up, so that their ends are among it.
            done = all(track.stream.done for track in self._tracks)
            self._changed.clear()
            if time.monotonic() >= ask_at:
                self._ask()
                ask_at = time.monotonic() + ASK_S
            self._update()
            sent = self._send_tokens()
            with self._starting:
                if self._closing.is_set() or (done and sent and not self._changed.is_set()):
                    self._thread = None
                    return
            self._closing.wait(interval)
            if sent:
                self._changed.wait(ASK_S if any(track.unknown for track in self._tracks) else None)

    def _ask(self) -> None:
        """Have the engines say what only they know: when a stream was accepted, and how long it waited."""
        unknown = {track.stream.id: track for track in self._tracks if track.unknown}
        for client in {id(track.stream.client): track.stream.client for track in unknown.values()}.values():
            with suppress(StreaminferError, RuntimeError):  # Or the client is closed.
                for status in client.streams():
                    if status.stream in unknown:
                        unknown[status.stream].learn(status)

    def _update(self) -> None:
        for track in self._tracks:
            track.take()
        rows = [msgspec.to_builtins(track.row()) for track in self._tracks]
        if rows != self.rows:
            self.rows = rows

    def _send_tokens(self) -> bool:
        """Send some of the tokens that the pages lack; returns whether these were all."""
        if self._again:
            self._again = False
            for track in self._tracks:
                track.sent = 0
        room, parts, times = MESSAGE_TOKENS, [], array("d")
        for index, track in enumerate(self._tracks):
            first, end = track.sent, min(len(track.at_ms), track.sent + room)
            if first < end:
                parts.append({"stream": index, "first": first, "texts": track.texts[first:end]})
                times.extend(track.at_ms[first:end])
                track.sent = end
                room -= end - first
        if parts:
            self.send({"type": "tokens", "parts": parts}, [times.tobytes()])
        return room > 0
