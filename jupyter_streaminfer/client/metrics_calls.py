"""`Client.metrics`: what the engine measures of itself, now, over the last minutes, and live."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from jupyter_streaminfer.client.subscription import OnLost, OnSample, Subscription
from jupyter_streaminfer.protocol import HISTORY_S, Metrics, StreaminferError, Topic

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from jupyter_streaminfer.client.client import Client


class MetricsCalls:
    """Called, it gives `Metrics` as they are now; its methods give the past as structs, a frame or a picture, and
    what comes.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self) -> Metrics:
        """What the engine carries, and what it had to do about it since its start."""
        return self._client._call(self._client._transport.metrics())

    def history(self, seconds: float = HISTORY_S) -> list[Metrics]:
        """The samples of the last so many seconds, one a second, the oldest first; at most 600 are kept."""
        if not 0 <= seconds < math.inf:
            raise StreaminferError(
                "invalid_request", f"seconds: a number from 0 on is needed, found {seconds!r}.", field="seconds"
            )
        return self._client._call(self._client._transport.history(min(float(seconds), HISTORY_S)))

    def to_frame(self, seconds: float = HISTORY_S, *, by: Literal["model", "client"] | None = None) -> pd.DataFrame:
        """The same as a frame: one row a second, indexed by its time (``at``, UTC).

        Columns are named as the fields of `protocol.Metrics`, flat: ``tokens_out_per_s``, ``ttft_p50_ms``,
        ``itl_p99_ms``, ``errors_overloaded`` (docs/client.md). Not a number: there was nothing to measure.
        ``by="model"``: a row for each second and version of a model, with ``model``, ``version`` and ``arm``;
        ``by="client"``: for each client that has something under way, with ``client``.
        """
        from jupyter_streaminfer.client.metrics_frame import metrics_frame

        return metrics_frame(self.history(seconds), by)

    def plot(
        self, kind: Literal["time", "load"] = "time", *, seconds: float = HISTORY_S, model: str | None = None
    ) -> Figure:
        """The last so many seconds as a matplotlib figure.

        ``time``: TTFT, ITL and tokens/s over time; with ``model`` for each of its versions, with a mark where one
        began to answer: before and after a swap. ``load``: TTFT and ITL against the number of open requests.
        """
        from jupyter_streaminfer.client import plots

        frame = self.to_frame(seconds, by=None if model is None else "model")
        if model is not None:
            frame = frame[frame["model"] == model]
        if kind not in ("time", "load"):
            raise StreaminferError("invalid_request", f"kind: time or load, not {kind!r}.", field="kind")
        return plots.over_time(frame) if kind == "time" else plots.against_load(frame)

    def watch(
        self,
        on_sample: OnSample,
        topics: Sequence[Topic] = ("metrics",),
        history_s: float = 0.0,
        on_lost: OnLost | None = None,
    ) -> Subscription:
        """Have ``on_sample`` called with each second's samples, until the subscription is closed.

        It is told a `Watching` first, with the last ``history_s`` seconds of metrics, and again after each lost
        connection; then, for each of ``topics``, a `MetricsSample`, `ModelsSample` or `StreamsSample` a second.
        ``on_lost`` is told why they stay away: they come again by themselves where the error is ``retryable``, else
        the subscription is closed. Both are called on the I/O thread, which they must not block.
        """
        client = self._client
        subscription = Subscription(client, on_sample, topics, history_s, on_lost)
        try:
            client._call(client._patiently(lambda: client._transport.watch(subscription)))
        except BaseException:
            subscription.close()
            raise
        return subscription

    def __repr__(self) -> str:
        return "<metrics: call it for those of now; history(), to_frame(), plot(), watch()>"
