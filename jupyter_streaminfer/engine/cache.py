"""Answers to predictions that were asked for with ``cache``, for whoever asks the same again."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import NamedTuple
from weakref import WeakKeyDictionary

DIGEST_BYTES = 32
"""Long enough that nobody finds two inputs with the same one: all clients share the answers."""
KEPT_BYTES = 512
"""What an answer takes beside its own bytes, roughly."""
LARGEST_PART = 0.25
"""Of the whole cache; a larger answer is not kept, as it would drive out too many."""


class Shelf:
    """What is kept of one version."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.keys: set[Key] = set()


class Key(NamedTuple):
    """Where an answer is, or is to be."""

    shelf: int
    digest: bytes
    """Of the inputs."""


class Kept(NamedTuple):
    """An answer."""

    outputs: bytes
    until: float
    """When it is too old, by the clock."""
    shelf: Shelf


class PredictionCache:
    """Keeps what versions said, bounded in bytes and in age; the answers that nobody asked for longest go first.

    An answer is found by the version's object and by the JSON text of its inputs, as it was sent: the same numbers
    written otherwise are other inputs. A version that is loaded anew, though by the same name, begins with nothing.
    """

    def __init__(self, max_bytes: int, max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """With ``max_bytes`` 0 nothing is kept."""
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._numbers = itertools.count()
        self._shelves: WeakKeyDictionary[Hashable, Shelf] = WeakKeyDictionary()
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        """The one used last is the last."""
        self.bytes = 0
        """What all answers take."""
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def key(self, model: Hashable, inputs: bytes) -> Key:
        """Where the model's answer to these inputs is, or is to be."""
        if (shelf := self._shelves.get(model)) is None:
            shelf = self._shelves[model] = Shelf(next(self._numbers))
        return Key(shelf.number, blake2b(inputs, digest_size=DIGEST_BYTES).digest())

    def get(self, key: Key) -> bytes | None:
        """The outputs that are kept there; None for a miss."""
        kept = self._kept.get(key)
        if kept is not None and kept.until <= self._clock():
            self._drop(key)
            kept = None
        if kept is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return kept.outputs

    def put(self, model: Hashable, key: Key, outputs: bytes) -> None:
        """Keep the model's outputs at the key that it was asked for; not if it was forgotten since."""
        shelf = self._shelves.get(model)
        size = len(outputs) + KEPT_BYTES
        if shelf is None or shelf.number != key.shelf or size > self._max_bytes * LARGEST_PART:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = Kept(outputs, self._clock() + self._max_age_s, shelf)
        shelf.keys.add(key)
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def forget(self, model: Hashable) -> None:
        """Drop all that a version said, as it is unloaded."""
        if (shelf := self._shelves.pop(model, None)) is not None:
            for key in tuple(shelf.keys):
                self._drop(key)

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key)
        kept.shelf.keys.discard(key)
        self.bytes -= len(kept.outputs) + KEPT_BYTES
