"""What a stream has brought, in columns."""

from __future__ import annotations

from array import array

from jupyter_streaminfer.protocol import Delta, Event, Snapshot, TokenLogprobs

DELTA_BYTES = 64
TOKEN_BYTES = 24
LOGPROB_BYTES = 200
"""What a delta, a token and each reported log-probability take besides their text, roughly, in bytes."""


class DeltaLog:
    """The deltas of one stream, ``seq`` dense from 0: a text for each, and flat token ids, times and log-probabilities.

    An hour-old stream costs little more than its output, and any run of deltas is merged by slicing. `shrink` turns
    the older half into a snapshot: what is left of it is its text and its token ids.
    """

    def __init__(self, *, with_logprobs: bool) -> None:
        """``with_logprobs``: whether its deltas have those of their tokens."""
        self.floor = 0
        """The lowest ``seq`` that can be read."""
        self.nbytes = 0
        """What it takes, roughly."""
        self.weight = 0
        """How much a reader who has read nothing lags: tokens."""
        self.token_ids = array("q")
        """All of them, those before the floor too."""
        self.last_at_ms = 0.0
        """When the latest token came."""
        self.longest_gap_ms = 0.0
        """From one token to the next, at most."""
        self._with_logprobs = with_logprobs
        self._snapshot = ""
        self._texts: list[str] = []
        self._ends = array("q")
        self._at_ms = array("d")
        self._logprobs: list[TokenLogprobs] = []
        self._cut = 0
        """How many tokens are before the floor."""

    def __len__(self) -> int:
        """How many deltas there ever were."""
        return self.floor + len(self._texts)

    @property
    def text(self) -> str:
        """Everything generated so far."""
        return self._snapshot + "".join(self._texts)

    @property
    def tokens(self) -> int:
        """How many tokens there ever were."""
        return len(self.token_ids)

    @property
    def first_at_ms(self) -> float | None:
        """When the first token came."""
        return self._first_at_ms if self.token_ids else None

    def append(self, token_ids: list[int], text: str, at_ms: float, logprobs: list[TokenLogprobs] | None) -> None:
        """Add one delta of any number of tokens."""
        if token_ids:
            if not self.token_ids:
                self._first_at_ms = at_ms
            elif (gap := at_ms - self.last_at_ms) > self.longest_gap_ms:
                self.longest_gap_ms = gap
            self.last_at_ms = at_ms
        self._texts.append(text)
        self.token_ids.extend(token_ids)
        self._at_ms.extend([at_ms] * len(token_ids))
        self.weight = len(self.token_ids)
        self._ends.append(self.weight)
        self.nbytes += DELTA_BYTES + len(text) + TOKEN_BYTES * len(token_ids)
        if logprobs:
            self._logprobs.extend(logprobs)
            self.nbytes += LOGPROB_BYTES * sum(1 + len(each.top) for each in logprobs)

    def weight_before(self, seq: int) -> int:
        """How many tokens the deltas before ``seq`` have; those before the floor count as one."""
        if seq < self.floor:
            return 0
        index = min(seq - self.floor, len(self._ends))
        return self._ends[index - 1] if index else self._cut

    def events(self, stream: str, first: int, last: int) -> list[Event]:
        """The deltas ``first`` to ``last``, both included, as one."""
        return [self.delta(stream, first, last)]

    def delta(self, stream: str, first: int, last: int) -> Delta:
        """The same, as it is."""
        floor, cut = self.floor, self._cut
        begin = self.weight_before(first)
        end = self._ends[last - floor]
        return Delta(
            stream,
            first,
            self._texts[first - floor] if first == last else "".join(self._texts[first - floor : last + 1 - floor]),
            self.token_ids[begin:end].tolist(),
            self._at_ms[begin - cut : end - cut].tolist(),
            None if first == last else last,
            self._logprobs[begin - cut : end - cut] if self._with_logprobs else None,
        )

    def snapshot(self) -> Snapshot:
        """What stands for everything before the floor."""
        return Snapshot(self._snapshot, self._cut)

    def shrink(self) -> None:
        """Keep the older half of what can be read as a snapshot only."""
        count = len(self._texts) // 2
        if not count:
            return
        tokens = self._ends[count - 1] - self._cut
        text = "".join(self._texts[:count])
        self.nbytes -= DELTA_BYTES * count + 8 * tokens
        self.nbytes -= LOGPROB_BYTES * sum(1 + len(each.top) for each in self._logprobs[:tokens])
        self._snapshot += text
        del self._texts[:count], self._ends[:count], self._at_ms[:tokens], self._logprobs[:tokens]
        self.floor += count
        self._cut += tokens
