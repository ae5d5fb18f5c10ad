"""Streams as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jupyter_streaminfer.protocol import Delta, Partial

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_streaminfer.client.received import Received


def to_frame(deltas: list[Delta]) -> pd.DataFrame:
    """One row per token: ``seq``, ``token_id``, ``text``, ``at_ms``, ``itl_ms`` (not a number for the first).

    A delta of several tokens does not say which of its text is whose: the text stands in the row of its first
    token. What a delta without tokens brings belongs to the token before it. So the texts joined are the
    stream's text.
    """
    import pandas as pd

    seqs: list[int] = []
    tokens: list[int] = []
    texts: list[str] = []
    times: list[float] = []
    for delta in deltas:
        # A run's texts are tokens without ids, which no token has.
        ids = delta.token_ids or [-1] * len(delta.at_ms)
        count = len(ids)
        span = (delta.seq if delta.last is None else delta.last) - delta.seq + 1
        if count == 0:
            if texts:
                texts[-1] += delta.text
            continue
        seqs += [delta.seq + index if index < span else delta.seq + span - 1 for index in range(count)]
        tokens += ids
        texts += [delta.text] + [""] * (count - 1)
        times += delta.at_ms
    frame = pd.DataFrame({"seq": seqs, "token_id": tokens, "text": texts, "at_ms": times})
    frame = frame.astype({"seq": "int64", "token_id": "int64", "at_ms": "float64"})
    frame["itl_ms"] = frame["at_ms"].diff()
    return frame


def tokens_frame(streams: Sequence[Received]) -> pd.DataFrame:
    """One row per token of several streams: ``stream``, ``model``, ``seq``, ``at_ms``, ``ttft_ms``, ``itl_ms``.

    The row of a stream's first token has its TTFT, which is its ``at_ms``; every other one its ITL. ``model`` is as it
    was asked for, and empty for a stream that was attached to. Of a run these are its texts and values.
    """
    import pandas as pd

    names = ["stream", "model", "seq", "at_ms", "ttft_ms", "itl_ms"]
    rows = []
    for stream in streams:
        model = "" if stream.request is None else stream.request.model
        before: float | None = None
        # One whose beginning is no longer kept does not tell when its first token came.
        first = stream.snapshot is None
        for seq, at in _times(stream):
            rows.append((stream.id, model, seq, at, at if before is None and first else None, _gap(before, at)))
            before = at
    return pd.DataFrame(rows, columns=names).astype({"at_ms": "float64", "ttft_ms": "float64", "itl_ms": "float64"})


def _times(stream: Received) -> list[tuple[int, float]]:
    """Each token's ``seq`` and time."""
    times = []
    for piece in stream.pieces:
        last = piece.seq if isinstance(piece, Partial) or piece.last is None else piece.last
        each = [piece.at_ms] if isinstance(piece, Partial) else piece.at_ms
        times += [(min(piece.seq + index, last), at) for index, at in enumerate(each)]
    return times


def _gap(before: float | None, at: float) -> float | None:
    return None if before is None else at - before


def values_frame(partials: list[Partial], values: list[Any]) -> pd.DataFrame:
    """One row per value of a run: ``seq``, ``at_ms``, and its fields where all are dicts, else ``value``."""
    import pandas as pd

    rows = values if all(isinstance(value, dict) for value in values) else [{"value": value} for value in values]
    times = [{"seq": partial.seq, "at_ms": partial.at_ms} for partial in partials]
    return pd.DataFrame([{**time, **row} for row, time in zip(rows, times, strict=False)])
