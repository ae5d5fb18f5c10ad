"""Streams as a notebook shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_streaminfer.client.status import table
from jupyter_streaminfer.protocol import StreamStatus

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 100
"""Rows of the table in a notebook: the newest."""
COLUMNS = (
    "stream", "model", "version", "arm", "client", "state", "finish_reason", "error_code", "odd", "began", "age_ms",
    "prompt_tokens", "cached_tokens", "tokens", "queue_ms", "ttft_ms", "itl_mean_ms", "itl_max_ms", "tokens_per_s",
    "duration_ms", "paused", "detached", "consumers", "epoch", "floor", "head",
)  # fmt: skip
_TEXTS = ("arm", "finish_reason", "error_code", "odd")
_NUMBERS = ("queue_ms", "ttft_ms", "itl_mean_ms", "itl_max_ms", "tokens_per_s", "duration_ms")


class StreamTable(list[StreamStatus]):
    """Streams of the engine: a list, and a table in a notebook."""

    def to_frame(self) -> pd.DataFrame:
        """One row a stream, with the fields of `protocol.StreamStatus`: which it is, how it ended, what it took.

        ``error_code`` instead of ``error``, ``odd`` as text, ``began`` as UTC; what is not known is empty or not a
        number.
        """
        import pandas as pd

        frame = pd.DataFrame([_row(each) for each in self], columns=list(COLUMNS))
        frame = frame.astype(dict.fromkeys(_TEXTS, "object") | dict.fromkeys(_NUMBERS, "float64"))
        frame["began"] = pd.to_datetime(frame["began"].astype("float64"), unit="s", utc=True)
        return frame

    def _repr_html_(self) -> str:
        rows = [_cells(each) for each in self[: -SHOWN - 1 : -1]]
        left_out = f"<p>and {len(self) - SHOWN} older ones</p>" if len(self) > SHOWN else ""
        return table("", ("stream", "model", "state", "tokens", "TTFT", "ITL", "tokens/s", "age"), rows) + left_out


def _row(status: StreamStatus) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(status, name) for name in COLUMNS if name != "error_code"}
    row["finish_reason"] = status.finish_reason or ""
    row["error_code"] = "" if status.error is None else status.error.code
    row["odd"] = ", ".join(status.odd)
    return row


def _cells(status: StreamStatus) -> list[str]:
    state = status.state if status.error is None else f"{status.state}: {status.error.code}"
    return [
        status.stream,
        f"{status.model}@{status.version}",
        ", ".join([state, *(["paused"] if status.paused else []), *status.odd]),
        f"{status.tokens:,}",
        "" if status.ttft_ms is None else f"{status.ttft_ms:.1f} ms",
        "" if status.itl_mean_ms is None else f"{status.itl_mean_ms:.1f} ms",
        "" if status.tokens_per_s is None else f"{status.tokens_per_s:.1f}",
        f"{status.age_ms / 1000:,.0f} s",
    ]
