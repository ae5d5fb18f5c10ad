"""Odd streams: those that repeat themselves, stand still, or are far longer or shorter than others."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from itertools import islice

from jupyter_streaminfer.engine.log import DeltaLog
from jupyter_streaminfer.engine.repetition import MIN_TOKENS, repeated
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.engine.usual import UsualLength
from jupyter_streaminfer.protocol import Completed, Metrics, Oddity

SEARCHED = 100
"""Streams whose tokens are searched for repetitions at a look; where more are open they take turns."""
LOOK_S = 2.0
"""The longest time that a look counts as having passed since the one before: beyond it this loop stood still, and
tokens may wait to be written."""
STALL_S = 5.0
FIRST_STALL_S = 30.0
"""A shorter time without a token, and without the first one, is never odd."""
STALL_TIMES = 20
"""So many times what 99 of 100 of its model's tokens take is odd."""
LONG_TIMES = 4
LONG_TOKENS = 200
"""So many times the tokens that 95 of 100 of its model's streams have are odd, and fewer than this never."""
SHORT_PART = 0.1
SHORT_TOKENS = 20
"""Less than this part of its model's median is odd, where that median is at least so many tokens."""
MAX_MODELS = 64
"""Models whose usual length is known; the one that ended no stream for longest makes room."""


class _Watched:
    """An open stream as the last look saw it."""

    __slots__ = ("moved", "searched", "started", "tokens")

    def __init__(self, now: float) -> None:
        self.moved = now
        """When it last did what it should: it brought something, began, or waited for its readers."""
        self.tokens = 0
        self.started = False
        self.searched = 0
        """The tokens it had when it was last searched."""


class Oddities:
    """Looks at the open streams once a second, and at each stream as it ends. Each oddity is told once a stream.

    A look costs about a microsecond a stream, and ten more for each that it searches: with a thousand streams two
    milliseconds.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Streams that were found odd, by what was."""
        self._watched: dict[str, _Watched] = {}
        self._usual: OrderedDict[str, UsualLength] = OrderedDict()
        """By model."""
        self._now = 0.0
        """Seconds that the looks have seen pass."""
        self._looked: float | None = None
        self._turn = 0
        """How many streams were searched so far: where the next look's search begins."""

    def look(self, streams: Iterable[Stream], metrics: Metrics, now: float) -> None:
        """Find what is odd about the open ``streams``; ``metrics`` say how fast their models are.

        ``now`` is on the monotonic clock, in seconds.
        """
        if self._looked is not None:
            self._now += min(now - self._looked, LOOK_S)
        self._looked = now
        patience = _patience(metrics)
        watched: dict[str, _Watched] = {}
        grown = []
        for stream in streams:
            seen = watched[stream.id] = self._watched.get(stream.id) or _Watched(self._now)
            self._look_at(stream, seen, patience)
            if seen.tokens > seen.searched and _searchable(stream):
                grown.append(stream)
        self._watched = watched
        self._search(grown)

    def ended(self, stream: Stream) -> None:
        """A stream ended: it may be odd, and says what is usual."""
        self._watched.pop(stream.id, None)
        if not isinstance(stream.terminal, Completed):
            return
        model, tokens = stream.model, stream.log.tokens
        usual = self._usual.setdefault(model, UsualLength())
        self._usual.move_to_end(model)
        if len(self._usual) > MAX_MODELS:
            self._usual.popitem(last=False)
        median = usual.quantile(0.5)
        stopped = stream.terminal.finish_reason == "stop"
        if stopped and median is not None and median >= SHORT_TOKENS and tokens < SHORT_PART * median:
            self._note(stream, "short")
        usual.add(tokens)

    def _look_at(self, stream: Stream, seen: _Watched, patience: dict[tuple[str, str], tuple[float, float]]) -> None:
        tokens, started = stream.log.tokens, stream.queue_ms is not None
        if tokens != seen.tokens or started != seen.started or stream.paused or not started:
            seen.moved = self._now
            seen.tokens, seen.started = tokens, started
        if "stalled" not in stream.odd:
            first_s, next_s = patience.get((stream.model, stream.version), (FIRST_STALL_S, STALL_S))
            still_s = self._now - seen.moved
            if still_s > (next_s if tokens else first_s):
                self._note(stream, "stalled", f"It has brought nothing for {still_s:.0f} s. {_STALLED}")
        if tokens > LONG_TOKENS and "long" not in stream.odd:
            usual = self._usual.get(stream.model)
            most = None if usual is None else usual.quantile(0.95)
            if most is not None and tokens > LONG_TIMES * most:
                what = "tokens" if isinstance(stream.log, DeltaLog) else "values"
                self._note(stream, "long", f"It has {tokens} {what}; 95 of 100 end with {most} or fewer. {_LONG}")

    def _search(self, streams: list[Stream]) -> None:
        """Search some of them, in turn."""
        begin = self._turn % len(streams) if streams else 0
        for stream in islice(streams[begin:] + streams[:begin], SEARCHED):
            self._turn += 1
            log = stream.log
            assert isinstance(log, DeltaLog)  # noqa: S101 (what is searchable)
            self._watched[stream.id].searched = log.tokens
            piece = repeated(log.token_ids)
            if piece:
                some = "token" if piece == 1 else f"{piece} tokens"
                self._note(stream, "repeating", f"It repeats the same {some} over and over. {_REPEATING}")

    def _note(self, stream: Stream, oddity: Oddity, message: str = "") -> None:
        """Count it, and tell its readers where there is something to do about it."""
        stream.odd.append(oddity)
        self.counts[oddity] += 1
        if oddity != "short":
            stream.notice(oddity, message)


_STALLED = "Wait, or stop it and start it again; if other streams stand still as well, look at the server's load."
_LONG = "Stop it if it has said enough, and set max_tokens or stop texts."
_REPEATING = "Stop it, and set repetition_penalty (1.1, say) or a higher temperature."


def _searchable(stream: Stream) -> bool:
    return isinstance(stream.log, DeltaLog) and stream.log.tokens >= MIN_TOKENS and "repeating" not in stream.odd


def _patience(metrics: Metrics) -> dict[tuple[str, str], tuple[float, float]]:
    """How long streams of a version may be without their first, and without their next token, in seconds."""
    patience: dict[tuple[str, str], tuple[float, float]] = {}
    for row in metrics.models:
        prefill, itl = row.latencies.prefill_ms, row.latencies.itl_ms
        first_s = max(FIRST_STALL_S, STALL_TIMES * prefill.p99 / 1000 if prefill else 0.0)
        next_s = max(STALL_S, STALL_TIMES * itl.p99 / 1000 if itl else 0.0)
        before = patience.get((row.model, row.version), (0.0, 0.0))
        patience[row.model, row.version] = (max(before[0], first_s), max(before[1], next_s))
    return patience
