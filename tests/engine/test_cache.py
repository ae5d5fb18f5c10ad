"""The prediction cache: always within its bounds, and never an answer to something else."""

from __future__ import annotations

import gc

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jupyter_streaminfer.engine.cache import KEPT_BYTES, LARGEST_PART, PredictionCache

MAX_BYTES = 20 * (KEPT_BYTES + 50)
MAX_AGE_S = 10.0
INPUTS = st.integers(0, 30).map(lambda number: b"[%d]" % number)


class Version:
    """One loaded version."""


class CacheMachine(RuleBasedStateMachine):
    """Versions come and go, time passes, answers are kept and asked for; beside it everything that was ever said."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.cache = PredictionCache(MAX_BYTES, MAX_AGE_S, lambda: self.now)
        self.versions = [Version(), Version()]
        self.said: dict[tuple[int, bytes], tuple[bytes, float]] = {}
        self.serials = [0, 1]
        """Which load each version is of: its answers name it."""
        self.asked = self.found = 0

    @rule(version=st.integers(0, 1), inputs=INPUTS, size=st.integers(0, 400))
    def keep(self, version: int, inputs: bytes, size: int) -> None:
        outputs = b"%d says of %s " % (self.serials[version], inputs) + b"x" * size
        model = self.versions[version]
        self.cache.put(model, self.cache.key(model, inputs), outputs)
        self.said[self.serials[version], inputs] = outputs, self.now

    @rule(version=st.integers(0, 1), inputs=INPUTS)
    def ask(self, version: int, inputs: bytes) -> None:
        found = self.cache.get(self.cache.key(self.versions[version], inputs))
        self.asked += 1
        if found is not None:
            self.found += 1
            outputs, at = self.said[self.serials[version], inputs]
            assert found == outputs
            assert self.now - at < MAX_AGE_S

    @rule(version=st.integers(0, 1), inputs=INPUTS)
    def answer_too_late(self, version: int, inputs: bytes) -> None:
        """What was asked of a version that is unloaded before it answers is not kept."""
        model = self.versions[version]
        key = self.cache.key(model, inputs)
        self.reload(version)
        held = len(self.cache)
        self.cache.put(model, key, b"late")
        assert len(self.cache) == held

    @rule(version=st.integers(0, 1))
    def reload(self, version: int) -> None:
        self.cache.forget(self.versions[version])
        self.versions[version] = Version()
        self.serials[version] = max(self.serials) + 1

    @rule(version=st.integers(0, 1))
    def lose(self, version: int) -> None:
        """Nobody said that it was unloaded; another object may get its address."""
        self.versions[version] = Version()
        gc.collect(0)
        self.serials[version] = max(self.serials) + 1

    @rule(seconds=st.floats(0, 8))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def is_within_its_bounds(self) -> None:
        assert 0 <= self.cache.bytes <= MAX_BYTES
        assert self.cache.bytes >= len(self.cache) * KEPT_BYTES
        assert (self.cache.hits, self.cache.misses) == (self.found, self.asked - self.found)


TestCache = CacheMachine.TestCase


def test_what_was_used_last_stays_longest() -> None:
    cache, model = PredictionCache(8 * (KEPT_BYTES + 1), 60.0), Version()
    keys = [cache.key(model, b"%d" % number) for number in range(9)]
    for key in keys[:8]:
        cache.put(model, key, b"x")
    assert cache.get(keys[0]) == b"x"
    cache.put(model, keys[8], b"x")
    assert [cache.get(key) is not None for key in keys] == [True, False, *[True] * 7]


def test_an_answer_too_large_drives_nothing_out() -> None:
    cache, model = PredictionCache(MAX_BYTES, 60.0), Version()
    small, large = cache.key(model, b"small"), cache.key(model, b"large")
    cache.put(model, small, b"x")
    cache.put(model, large, b"x" * int(MAX_BYTES * LARGEST_PART))
    assert (cache.get(small), cache.get(large)) == (b"x", None)


def test_unloading_empties_it() -> None:
    cache, model, other = PredictionCache(MAX_BYTES, 60.0), Version(), Version()
    cache.put(model, cache.key(model, b"a"), b"x")
    cache.put(other, key := cache.key(other, b"a"), b"y")
    cache.forget(model)
    assert (len(cache), cache.get(key)) == (1, b"y")
    cache.forget(other)
    assert (len(cache), cache.bytes) == (0, 0)


def test_one_without_room_keeps_nothing() -> None:
    cache, model = PredictionCache(0, 60.0), Version()
    key = cache.key(model, b"a")
    cache.put(model, key, b"")
    assert cache.get(key) is None
