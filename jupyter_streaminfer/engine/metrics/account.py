"""What one stream brings, as it is told by who writes it."""

from __future__ import annotations

from jupyter_streaminfer.engine.metrics.series import ModelSeries
from jupyter_streaminfer.engine.metrics.tally import Outcome, Tally
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.protocol import Cancelled, Completed, Failed, Incomplete


class StreamAccount:
    """Books a stream's figures with its model's series and its client's tally. A token costs one `Sketch.add`."""

    __slots__ = ("_client", "_last_ms", "_queue_ms", "_series")

    def __init__(self, series: ModelSeries, client: Tally) -> None:
        """The stream is open from now on."""
        self._series = series
        self._client = client
        self._queue_ms: float | None = None
        self._last_ms: float | None = None
        """When its latest token came, since the request was accepted."""
        series.open += 1
        client.open += 1

    def admitted(self, prompt_tokens: int) -> None:
        """The model took the prompt."""
        self._series.tokens_in += prompt_tokens
        self._client.tokens_in += prompt_tokens

    def started(self, queue_ms: float) -> None:
        """It is computed, for the first time."""
        self._queue_ms = queue_ms
        self._series.queue_ms.current.add(queue_ms)

    def tokens(self, count: int, at_ms: float) -> None:
        """So many tokens came at once, one at least, ``at_ms`` since the request was accepted."""
        series = self._series
        series.tokens_out += count
        self._client.tokens_out += count
        if self._last_ms is None:
            series.ttft_ms.current.add(at_ms)
            if self._queue_ms is not None:
                series.prefill_ms.current.add(max(0.0, at_ms - self._queue_ms))
        else:
            series.itl_ms.current.add(at_ms - self._last_ms)
        if count > 1:
            series.itl_ms.current.add(0.0, count - 1)
        self._last_ms = at_ms

    def ended(self, stream: Stream, *, known: bool) -> None:
        """It is closed; ``known``: there was a stream to read, not a refusal."""
        terminal, series, code = stream.terminal, self._series, None
        outcome: Outcome
        match terminal:
            case Completed():
                outcome = "completed"
                series.reasons[terminal.finish_reason] += 1
            case Incomplete():
                outcome = "incomplete"
            case Cancelled():
                outcome = "disconnected" if terminal.reason == "abandoned" else "cancelled"
            case Failed():
                outcome, code = "failed", terminal.error.code
            case None:
                raise AssertionError("it is not closed")
        for tally in (series, self._client):
            tally.end(outcome, code)
        if known:
            series.stream_ms.current.add(terminal.timings.duration_ms)
            if stream.log.first_at_ms is not None:
                series.decode_ms.current.add(stream.log.last_at_ms - stream.log.first_at_ms)
