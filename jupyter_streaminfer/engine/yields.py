"""What a run has yielded: texts and values, as it came."""

from __future__ import annotations

from array import array
from itertools import accumulate

from msgspec import Raw

from jupyter_streaminfer.protocol import Delta, Event, Partial, Snapshot

ENTRY_BYTES = 120
"""What an entry takes besides its text or value, roughly."""
WEIGHT_BYTES = 1024
"""A text or a value counts against the window as one token does, and once more for each of so many bytes."""
MERGED_CHARACTERS = 64 * 2**10
"""A merged delta is no longer than this and one text."""


class YieldLog:
    """The log of a run, ``seq`` dense from 0; reads as a `DeltaLog` does.

    Texts that follow on each other are merged, values are not. `shrink` turns the older half into a snapshot: what
    is left of it is its text, and how many values there were.
    """

    def __init__(self) -> None:
        self.floor = 0
        """The lowest ``seq`` that can be read."""
        self.nbytes = 0
        """What it takes, roughly."""
        self.first_at_ms: float | None = None
        """When the first text or value came."""
        self.last_at_ms = 0.0
        """When the latest one came."""
        self.longest_gap_ms = 0.0
        """From one to the next, at most."""
        self._snapshot = Snapshot("", 0)
        self._entries: list[str | Raw] = []
        self._at_ms = array("d")
        self._weights = array("q")
        """How much there was up to each entry, itself included; see `weight`."""
        self._cut = 0
        """How much of it is before the floor."""

    def __len__(self) -> int:
        """How many entries there ever were."""
        return self.floor + len(self._entries)

    @property
    def tokens(self) -> int:
        """The same: each text and each value counts as a token."""
        return len(self)

    @property
    def text(self) -> str:
        """All texts so far."""
        return self._snapshot.text + "".join([entry for entry in self._entries if isinstance(entry, str)])

    @property
    def weight(self) -> int:
        """How much a reader who has read nothing lags, in tokens of the window."""
        return self._weights[-1] if self._weights else self._cut

    def weight_before(self, seq: int) -> int:
        """How much of that the entries before ``seq`` are; those before the floor count as nothing if it is below."""
        if seq < self.floor:
            return 0
        index = min(seq - self.floor, len(self._weights))
        return self._weights[index - 1] if index else self._cut

    def append(self, entry: str | Raw, at_ms: float) -> None:
        """Add a text, or a value as its JSON text."""
        if self.first_at_ms is None:
            self.first_at_ms = at_ms
        elif (gap := at_ms - self.last_at_ms) > self.longest_gap_ms:
            self.longest_gap_ms = gap
        self.last_at_ms = at_ms
        size = _bytes(entry)
        self._weights.append(self.weight + 1 + size // WEIGHT_BYTES)
        self._entries.append(entry)
        self._at_ms.append(at_ms)
        self.nbytes += ENTRY_BYTES + size

    def events(self, stream: str, first: int, last: int) -> list[Event]:
        """The entries ``first`` to ``last``, both included: texts between two values as one delta, or as a few."""
        events: list[Event] = []
        begin, characters = first, 0
        for seq in range(first, last + 1):
            entry = self._entries[seq - self.floor]
            if isinstance(entry, str):
                characters += len(entry)
                if characters < MERGED_CHARACTERS:
                    continue
                events.append(self._delta(stream, begin, seq))
            else:
                if begin < seq:
                    events.append(self._delta(stream, begin, seq - 1))
                events.append(Partial(stream, seq, entry, self._at_ms[seq - self.floor]))
            begin, characters = seq + 1, 0
        if begin <= last:
            events.append(self._delta(stream, begin, last))
        return events

    @property
    def unsheddable(self) -> int:
        """What the text before the floor takes: `shrink` frees none of it."""
        return len(self._snapshot.text)

    def snapshot(self) -> Snapshot:
        """What stands for everything before the floor."""
        return self._snapshot

    def shrink(self) -> None:
        """Keep the older half, in bytes, of what can be read as a snapshot only; the latest entry stays."""
        sizes = [ENTRY_BYTES + _bytes(entry) for entry in self._entries]
        half = sum(sizes) / 2
        count = sum(total <= half for total in accumulate(sizes)) or 1
        if count >= len(sizes):
            return
        old, freed = self._entries[:count], sum(sizes[:count])
        texts = [entry for entry in old if isinstance(entry, str)]
        text = "".join(texts)
        before = self._snapshot
        self._snapshot = Snapshot(before.text + text, before.tokens + count, before.values + count - len(texts))
        self.nbytes += len(text) - freed
        self._cut = self._weights[count - 1]
        del self._entries[:count], self._at_ms[:count], self._weights[:count]
        self.floor += count

    def _delta(self, stream: str, first: int, last: int) -> Delta:
        begin, end = first - self.floor, last + 1 - self.floor
        return Delta(
            stream,
            first,
            "".join([str(entry) for entry in self._entries[begin:end]]),
            [],
            self._at_ms[begin:end].tolist(),
            None if first == last else last,
        )


def _bytes(entry: str | Raw) -> int:
    return len(entry) if isinstance(entry, str) else len(bytes(entry))
