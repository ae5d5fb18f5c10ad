"""What a kernel tells a page of a stream that the page does not read by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.widgets.snapshot import Snapshot

INTERVAL_S = 0.1
CHARACTERS_PER_S = 50_000
"""A Jupyter server drops messages above 1 MB/s by default, and every snapshot repeats the text."""


class Mirror:
    """Follows one stream to its end and hands on what a page shows of it, the last snapshot always."""

    def __init__(
        self,
        stream: ClientStream,
        put: Callable[[Snapshot], object],
        *,
        quiet: Callable[[], bool] = lambda: False,
        share: int = 1,
    ) -> None:
        """``put`` is called on the client's I/O thread, about every `INTERVAL_S` at most; while ``quiet()``, as the
        page reads by itself, only at the end. ``share``: how many mirrors have the bound of the whole together.
        """
        self.stream = stream
        self._put = put
        self._quiet = quiet
        self._share = share
        self._lock = threading.Lock()
        self._next_s = 0.0
        self._over = False
        self._remove: Callable[[], None] = lambda: None
        self._remove = stream.add_listener(self._told)
        self._told(stream)

    def close(self) -> None:
        """Hand on nothing more."""
        self._remove()
        with self._lock:
            self._over = True

    def _told(self, stream: ClientStream) -> None:
        now = time.monotonic()
        if not stream.done and (self._quiet() or now < self._next_s):
            return
        with self._lock:
            if self._over:
                return
            snapshot = Snapshot.of(stream)
            self._next_s = now + self._share * max(INTERVAL_S, snapshot.size / CHARACTERS_PER_S)
            self._over = stream.done
            self._put(snapshot)
        if stream.done:
            self._remove()
