"""The blocks of the cache: each belongs to whom it should, and what is found was computed for these very tokens."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS, Blocks


def text(*numbers: int, more: int = 0) -> list[int]:
    """One block of tokens for each number, and some ``more`` tokens."""
    return [number * 100 + index for number in numbers for index in range(BLOCK_TOKENS)] + [0] * more


def computed(blocks: Blocks, token_ids: list[int]) -> list[int]:
    """The blocks of a sequence that shares what it finds and has computed the rest."""
    held = blocks.find(token_ids)
    blocks.share(held)
    found = len(held)
    taken = blocks.take(-(-len(token_ids) // BLOCK_TOKENS) - found)
    assert taken is not None
    held += taken
    blocks.register(held, token_ids, found, len(token_ids) // BLOCK_TOKENS)
    return held


def test_the_longest_prefix_of_full_blocks_is_found() -> None:
    blocks = Blocks(8)
    held = computed(blocks, text(1, 2, 3, more=5))
    assert blocks.find(text(1, 2, 3, more=1)) == held[:3]
    assert blocks.find(text(1, 2, 4, more=1)) == held[:2]
    assert blocks.find(text(1, more=15)) == held[:1]
    assert blocks.find(text(2, 3, more=1)) == []
    assert blocks.find([]) == []


def test_one_token_is_always_left_to_compute() -> None:
    blocks = Blocks(8)
    held = computed(blocks, text(1, 2))
    assert blocks.find(text(1, 2)) == held[:1]
    assert blocks.find(text(1)) == []


def test_equal_hashes_are_not_equal_tokens() -> None:
    blocks = Blocks(4)
    first = [-1] * BLOCK_TOKENS
    second = [-2] * BLOCK_TOKENS
    assert hash(tuple(first)) == hash(tuple(second))
    held = computed(blocks, [*first, 0])
    assert blocks.find([*second, 0]) == []
    assert blocks.find([*first, 0]) == held[:1]


def test_blocks_given_back_are_found_until_they_are_evicted_tail_first() -> None:
    blocks = Blocks(5)
    held = computed(blocks, text(1, 2, 3, more=3))
    assert (blocks.available, blocks.used) == (1, 4)
    blocks.give_back(held)
    assert blocks.available == 5
    assert blocks.take(2) is not None, "those that nobody could find are taken first"
    assert blocks.find(text(1, 2, 3, more=1)) == held[:3]
    assert blocks.take(1) == [held[2]]
    assert blocks.find(text(1, 2, 3, more=1)) == held[:2]
    assert blocks.take(3) is None
    assert blocks.available == 2, "nothing is taken when not all can be"


def test_the_least_recently_used_is_evicted_first() -> None:
    blocks = Blocks(3)
    held = {number: computed(blocks, text(number)) for number in (1, 2, 3)}
    for number in (2, 1, 3):
        blocks.give_back(held[number])
    blocks.share(blocks.find(text(2, more=1)))
    blocks.give_back(held[2])
    assert blocks.take(3) == [*held[1], *held[3], *held[2]]


def test_a_shared_block_is_kept_for_its_last_user() -> None:
    blocks = Blocks(2)
    held = computed(blocks, text(1, more=1))
    found = blocks.find(text(1, more=2))
    blocks.share(found)
    blocks.give_back(held)
    assert blocks.take(2) is None
    blocks.give_back(found)
    assert blocks.take(2) is not None


def test_of_two_that_compute_the_same_the_second_keeps_its_own() -> None:
    blocks = Blocks(6)
    first, second = blocks.take(2), blocks.take(3)
    assert first is not None
    assert second is not None
    blocks.register(first, text(1, 2), 0, 2)
    blocks.register(second, text(1, 2, 3), 0, 3)
    assert blocks.find(text(1, 2, 3, more=1)) == [*first, second[2]]
    blocks.give_back(second)
    assert blocks.available == 4
    assert blocks.take(3) is not None
    assert blocks.find(text(1, 2, 3, more=1)) == [*first, second[2]], "its own copies were free, and taken first"


def test_what_follows_an_evicted_block_is_not_found_any_more() -> None:
    blocks = Blocks(3)
    first, second = blocks.take(1), blocks.take(2)
    assert first is not None
    assert second is not None
    blocks.register(first, text(1), 0, 1)
    blocks.register(second, text(1, 2), 0, 2)
    blocks.give_back(first)
    assert blocks.take(1) == first, "the only idle one, though a block in use was found below it"
    assert blocks.find(text(1, 2, more=1)) == []
    blocks.register(second, text(1, 2), 0, 1)
    assert blocks.find(text(1, 2, more=1)) == second[:1]
    blocks.give_back(second)
    blocks.give_back(first)
    assert blocks.available == 3
    blocks.check_idle()


def test_a_block_that_could_not_be_found_is_not_kept() -> None:
    blocks = Blocks(4)
    idle = computed(blocks, text(9))
    first, second = blocks.take(1), blocks.take(2)
    assert first is not None
    assert second is not None
    for held in (first, second):
        blocks.register(held, text(1), 0, 1)
    blocks.give_back(first)
    assert blocks.take(1) == first
    blocks.register(second, text(1, 2), 1, 2)
    blocks.give_back(idle)
    blocks.give_back(second)
    assert sorted(blocks.take(2) or []) == sorted(second)
    assert blocks.find(text(9, more=1)) == idle


def test_a_block_taken_anew_has_nothing_of_what_it_was() -> None:
    blocks = Blocks(4)
    original = computed(blocks, text(1))
    shared = computed(blocks, text(5))
    like = blocks.take(1)
    assert like is not None
    blocks.register(like, text(1), 0, 1)
    blocks.give_back(like)
    reader = [*shared, *(blocks.take(2) or [])]
    assert like[0] == reader[1]
    blocks.share(shared)
    blocks.discard(shared)
    for index in (1, 2):
        blocks.register(reader, text(5, 6, 2), index, index + 1)
    assert blocks.find(text(1, 2, more=1)) == original


def test_nothing_is_found_of_a_broken_sequence_nor_after_it() -> None:
    blocks = Blocks(8)
    broken = computed(blocks, text(1, 2, more=1))
    reader = computed(blocks, text(1, 2, 3))
    idle = computed(blocks, text(1, 4))
    blocks.give_back(idle)
    freed = blocks.discard(broken)
    assert set(freed) == {broken[2], idle[1]}, "what others still read is not free"
    reader += blocks.take(1) or []
    blocks.register(reader, text(1, 2, 3, 5), 3, 4)
    for token_ids in (text(1, 2, 3, 5, more=1), text(1, 4, more=1)):
        assert blocks.find(token_ids) == []
    again = computed(blocks, text(1, more=1))
    assert blocks.find(text(1, 2, more=1)) == again[:1]
    blocks.give_back(reader)
    blocks.give_back(again)
    blocks.check_idle()


def test_other_weights_find_nothing() -> None:
    blocks = Blocks(4, "one")
    held = computed(blocks, text(1, 2))
    with pytest.raises(RuntimeError, match="2 blocks are in use"):
        blocks.reset("two")
    blocks.give_back(held)
    blocks.reset("one")
    assert blocks.find(text(1, 2, more=1)) == held
    blocks.reset("two")
    assert blocks.salt == "two"
    assert blocks.find(text(1, 2, more=1)) == []
    assert sorted(blocks.take(4) or []) == [0, 1, 2, 3]


def test_blocks_in_use_are_not_idle() -> None:
    blocks = Blocks(4)
    blocks.check_idle()
    held = computed(blocks, text(1))
    with pytest.raises(RuntimeError, match="1 blocks have users"):
        blocks.check_idle()
    blocks.give_back(held)
    blocks.check_idle()


@dataclass(eq=False)
class Held:
    token_ids: list[int]
    blocks: list[int]
    full: int


NUMBERS = st.lists(st.integers(0, 2), min_size=1, max_size=4)


class Model(RuleBasedStateMachine):
    """Against a memory that knows for which tokens each block was computed."""

    sequences = Bundle("sequences")

    def __init__(self) -> None:
        super().__init__()
        self.blocks = Blocks(8)
        self.memory: dict[int, list[int]] = {}
        self.held: list[Held] = []

    def write(self, held: Held) -> None:
        """Compute the blocks after the full ones, then register those that are full."""
        for index in range(held.full, len(held.blocks)):
            self.memory[held.blocks[index]] = held.token_ids[: (index + 1) * BLOCK_TOKENS]
        full = len(held.token_ids) // BLOCK_TOKENS
        self.blocks.register(held.blocks, held.token_ids, held.full, full)
        held.full = full

    @rule(target=sequences, numbers=NUMBERS, more=st.integers(0, 1), same=st.booleans())
    def begin(self, numbers: list[int], more: int, same: bool) -> Held | None:
        """``same``: as if another computed the same content at the same time."""
        token_ids = text(*numbers, more=more)
        found = [] if same else self.blocks.find(token_ids)
        assert len(found) * BLOCK_TOKENS < len(token_ids)
        self.blocks.share(found)
        available = self.blocks.available
        needed = len(numbers) + more - len(found)
        taken = self.blocks.take(needed)
        if taken is None:
            assert needed > available
            self.blocks.give_back(found)
            return None
        held = Held(token_ids, found + taken, len(found))
        self.held.append(held)
        self.write(held)
        return held

    @rule(held=sequences, number=st.integers(0, 2))
    def grow(self, held: Held | None, number: int) -> None:
        if held not in self.held or len(held.token_ids) % BLOCK_TOKENS:
            return
        taken = self.blocks.take(1)
        if taken is not None:
            held.token_ids = held.token_ids + text(number)
            held.blocks += taken
            self.write(held)

    @rule(held=consumes(sequences))
    def end(self, held: Held | None) -> None:
        if held in self.held:
            self.held.remove(held)
            self.blocks.give_back(held.blocks)

    @rule(held=consumes(sequences))
    def break_(self, held: Held | None) -> None:
        if held not in self.held:
            return
        self.held.remove(held)
        freed = self.blocks.discard(held.blocks)
        used = {block for other in self.held for block in other.blocks}
        assert set(freed) >= set(held.blocks) - used
        assert not used & set(freed)
        assert len(freed) == len(set(freed))
        assert not set(self.blocks.find([*held.token_ids, 0])) & set(held.blocks)

    @precondition(lambda self: not self.held)
    @rule(salt=st.sampled_from(["", "other"]))
    def reset(self, salt: str) -> None:
        known = salt == self.blocks.salt
        self.blocks.check_idle()
        self.blocks.reset(salt)
        assert known or not any(self.blocks.find(text(number, more=1)) for number in range(3))

    @invariant()
    def counts_are_exact(self) -> None:
        used = {block for held in self.held for block in held.blocks}
        assert self.blocks.used == len(used)
        assert self.blocks.available == self.blocks.count - len(used)

    @invariant()
    def everyone_reads_its_own_tokens(self) -> None:
        for held in self.held:
            for index, block in enumerate(held.blocks):
                assert self.memory[block] == held.token_ids[: (index + 1) * BLOCK_TOKENS]
            found = self.blocks.find([*held.token_ids, 0])
            for index, block in enumerate(found):
                assert self.memory[block] == held.token_ids[: (index + 1) * BLOCK_TOKENS]

    def teardown(self) -> None:
        for held in self.held:
            self.blocks.give_back(held.blocks)
        self.blocks.check_idle()
        assert sorted(self.blocks.take(8) or []) == list(range(8))
        assert not any(self.blocks.find(text(number, more=1)) for number in range(3))


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=30)
