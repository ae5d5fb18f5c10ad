"""The calls that make widgets of what a client can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from jupyter_streaminfer.client.calls import Calls

if TYPE_CHECKING:
    from jupyter_streaminfer.client.client import Client
    from jupyter_streaminfer.client.stream import ClientStream
    from jupyter_streaminfer.widgets import Chat, Compare, Dashboard, Review, Timeline


class WidgetCalls(Calls):
    """Of a client: views for a notebook's page. Options are those of the widgets, which explain them."""

    def dashboard(self, **options: Any) -> Dashboard:
        """What the engine does, live: latencies, tokens/s, batches, queue, cache, errors, machine, streams."""
        from jupyter_streaminfer.widgets import Dashboard

        return Dashboard(cast("Client", self), **options)

    def chat(self, model: str, **options: Any) -> Chat:
        """A conversation with a model."""
        from jupyter_streaminfer.widgets import Chat

        return Chat(cast("Client", self), model, **options)

    def compare(self, prompt: str, models: Sequence[Any], **options: Any) -> Compare:
        """What several models or versions make of one prompt, side by side."""
        from jupyter_streaminfer.widgets import Compare

        return Compare(cast("Client", self), prompt, models, **options)

    def timeline(self, streams: Sequence[ClientStream], **options: Any) -> Timeline:
        """Streams below each other over time: queue, prefill, each token."""
        from jupyter_streaminfer.widgets import Timeline

        return Timeline(streams, **options)

    def review(self, model: str, rows: Any, **options: Any) -> Review:
        """Predictions for somebody to confirm or to correct."""
        from jupyter_streaminfer.widgets import Review

        return Review(cast("Client", self), model, rows, **options)
