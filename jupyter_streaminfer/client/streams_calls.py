"""`Client.streams`: what is generated and yielded, by whomever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jupyter_streaminfer.client.stream_table import StreamTable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from jupyter_streaminfer.client.client import Client
    from jupyter_streaminfer.client.received import Received


class StreamsCalls:
    """Called, it lists the streams that the engine keeps; its methods give them as a frame and as pictures."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self) -> StreamTable:
        """Every stream that is kept, open or closed, the oldest first; in a notebook a table."""
        return StreamTable(self._client._call(self._client._transport.streams()))

    def to_frame(self, streams: Sequence[Received] | None = None) -> pd.DataFrame:
        """One row per stream that the engine keeps, as `StreamTable.to_frame`.

        Of ``streams`` that were read here: one row per token, ``stream``, ``model``, ``seq``, ``at_ms``, ``ttft_ms``
        (in the row of the first token) and ``itl_ms`` (in all others).
        """
        if streams is None:
            return self().to_frame()
        from jupyter_streaminfer.client.frames import tokens_frame

        return tokens_frame(streams)

    def plot(self, streams: Sequence[Received] | None = None, *, by: str = "model") -> Figure:
        """How TTFT and ITL are distributed, with p50, p95 and p99, as a matplotlib figure.

        Of the streams that the engine keeps, each with its mean ITL; or of ``streams`` that were read here, with the
        time between any two tokens. ``by``: the column of `to_frame` whose values are told apart.
        """
        from jupyter_streaminfer.client import plots

        return plots.distributions(self.to_frame(streams), by=by)

    def __repr__(self) -> str:
        return "<streams: call it for a list; to_frame(), plot()>"
