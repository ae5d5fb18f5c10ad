"""The widget that shows what an engine does, as it does it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import traitlets

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.protocol import Metrics, StreaminferError
from jupyter_streaminfer.widgets.dashboard_text import as_html, as_text
from jupyter_streaminfer.widgets.metrics_mirror import MetricsMirror
from jupyter_streaminfer.widgets.reach import page_reaches_engine
from jupyter_streaminfer.widgets.saved import SavedView
from jupyter_streaminfer.widgets.token_stream import STATIC


class Dashboard(SavedView):
    """Latency percentiles, tokens/s, batches, queue, caches, errors, machine and open streams, live.

    On a page of the Jupyter server that has the engine, the page reads the samples from there by itself, so it goes
    on while the kernel is busy. Elsewhere the kernel sends what it watches, for as long as a page shows it.
    """

    _esm = STATIC / "dashboard.js"
    _css = STATIC / "dashboard.css"

    server = traitlets.Bool().tag(sync=True)
    """Whether the server of the page has the engine."""

    def __init__(self, client: Client, **kwargs: Any) -> None:
        """``client``: of the engine that is shown."""
        self._client = client
        self._metrics: Metrics = client.metrics()
        self._mirror = MetricsMirror(client, self.send)
        super().__init__(server=page_reaches_engine(client), **kwargs)
        self.on_msg(self._receive)

    def text(self) -> str:
        """The figures as the kernel last had them."""
        return as_text(self._mirror.newest or self._metrics)

    def html(self) -> str:
        """The same as tables."""
        return as_html(self._mirror.newest or self._metrics)

    def close(self) -> None:
        """Show no more; the notebook keeps the figures as they are now."""
        if self.comm is not None:
            self._mirror.close()
            with suppress(StreaminferError, RuntimeError):  # Or the client is closed, too.
                self._metrics = self._client.metrics()
            self._mirror.newest = None
        super().close()

    def _receive(self, widget: object, content: object, buffers: object) -> None:
        self._mirror.receive(content)
