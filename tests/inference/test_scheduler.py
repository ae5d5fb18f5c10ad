"""What the scheduler plans, case by case: budgets, order, preemption, shared prefixes, what leaves."""

from __future__ import annotations

import pytest

from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS, Blocks
from jupyter_streaminfer.inference.scheduler import Chunk, Scheduler
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.protocol import StreaminferError

Plan = list[tuple[str, int]]


def build(blocks: int = 100, *, places: int = 4, step_tokens: int = 1000, max_queue: int = 100) -> Scheduler:
    return Scheduler(Blocks(blocks), max_batch_size=places, step_tokens=step_tokens, max_queue=max_queue)


def sequence(job: str, prompt: int | list[int] = 1, max_tokens: int = 50, priority: int = 0) -> Sequence:
    """A prompt of so many tokens that no other job's begins with, or of these."""
    token_ids = list(prompt) if isinstance(prompt, list) else [ord(job[0])] * prompt
    return Sequence(job, token_ids, max_tokens, priority=priority)


def plan(chunks: list[Chunk]) -> Plan:
    return [(chunk.sequence.job, chunk.count) for chunk in chunks]


def step(scheduler: Scheduler, prefill_tokens: int | None = None) -> Plan:
    """What a generator does: compute a step, and give whoever caught up its next token."""
    chunks = scheduler.schedule(prefill_tokens)
    planned = plan(chunks)
    for chunk in chunks:
        completes = chunk.completes
        scheduler.advance(chunk)
        scheduler.settle(chunk)
        chunk.sequence.started = True
        if completes:
            chunk.sequence.token_ids.append(7)
    return planned


def jobs(sequences: list[Sequence]) -> list[str]:
    return [sequence.job for sequence in sequences]


def test_decodes_and_chunked_prefill_mix() -> None:
    scheduler = build(places=3, step_tokens=8)
    scheduler.submit(sequence("a", 5))
    step(scheduler)
    scheduler.submit(sequence("b", 20))
    scheduler.submit(sequence("c", 2))
    assert [step(scheduler) for _ in range(4)] == [
        [("a", 1), ("b", 7)],
        [("a", 1), ("b", 7)],
        [("a", 1), ("b", 6), ("c", 1)],
        [("a", 1), ("b", 1), ("c", 1)],
    ]


def test_prefill_tokens_bound_what_prompts_add() -> None:
    scheduler = build(places=3)
    scheduler.submit(sequence("a", 5))
    assert step(scheduler, 3) == [("a", 3)]
    assert step(scheduler, 3) == [("a", 2)]
    scheduler.submit(sequence("b", 20))
    scheduler.submit(sequence("c", 20))
    assert step(scheduler, 0) == [("a", 1)]
    assert step(scheduler, 4) == [("a", 1), ("b", 4)]
    assert step(scheduler, 4) == [("a", 1), ("b", 5)]
    assert step(scheduler, 20) == [("a", 1), ("b", 11), ("c", 10)]
    assert step(scheduler, 0) == [("a", 1), ("b", 1), ("c", 1)]


def test_no_bound_is_so_tight_that_nothing_runs() -> None:
    scheduler = build()
    scheduler.submit(sequence("a", 2))
    assert step(scheduler, 0) == [("a", 1)]
    assert step(scheduler, 0) == [("a", 1)]


def test_a_full_batch_decodes_whole_whatever_the_budget() -> None:
    scheduler = build(places=4, step_tokens=1)
    for job in "abcd":
        scheduler.submit(sequence(job))
    step(scheduler)
    assert step(scheduler) == [("a", 1), ("b", 1), ("c", 1), ("d", 1)]


def test_a_sequence_that_lags_by_several_tokens_catches_up() -> None:
    scheduler = build()
    lagging = sequence("a", 5)
    scheduler.submit(lagging)
    step(scheduler)
    lagging.token_ids += [8, 9]
    assert step(scheduler) == [("a", 3)]
    lagging.computed += 1
    assert step(scheduler) == [], "nothing pending, nothing to compute"


def test_waiting_is_bounded_and_refusal_is_retryable() -> None:
    scheduler = build(places=2, max_queue=1)
    for job in "abc":
        scheduler.submit(sequence(job))
    with pytest.raises(StreaminferError) as caught:
        scheduler.submit(sequence("d"))
    assert (caught.value.code, caught.value.info.retryable) == ("overloaded", True)
    scheduler.remove("c")
    scheduler.submit(sequence("d"))
    scheduler.schedule()
    assert (jobs(scheduler.running), jobs(scheduler.waiting)) == (["a", "b"], ["d"])


def of_client(client: str, job: str, prompt: int = 1, max_tokens: int = 50, priority: int = 0) -> Sequence:
    """A sequence with the client's own prompt."""
    return Sequence(job, [ord(client)] * prompt, max_tokens, priority=priority, client=client)


def test_a_thousand_of_one_client_do_not_delay_one_of_another() -> None:
    scheduler = build(places=2, max_queue=2000)
    for index in range(1000):
        scheduler.submit(of_client("a", f"a{index}"))
    step(scheduler)
    scheduler.submit(of_client("b", "b0", 5))
    assert jobs(scheduler.waiting)[:2] == ["b0", "a2"]
    scheduler.remove("a0")
    assert step(scheduler) == [("a1", 1), ("b0", 5)]
    scheduler.submit(of_client("b", "b1", 5))
    assert jobs(scheduler.waiting)[:2] == ["a2", "b1"], "then by turns"


def test_clients_are_served_by_what_they_cost() -> None:
    """Ten short ones for one that takes ten times as many tokens."""
    scheduler = build(places=1)
    for index in range(30):
        scheduler.submit(of_client("a", f"a{index}", 4, 6))
        scheduler.submit(of_client("b", f"b{index}", 40, 60))
    order = []
    for _ in range(33):
        step(scheduler)
        order.append(scheduler.running[0].job)
        scheduler.remove(order[-1])
    assert [job for job in order if job[0] == "b"] == ["b0", "b1", "b2"]
    assert [job for job in order if job[0] == "a"] == [f"a{index}" for index in range(30)]
    assert [order.index(f"b{index}") for index in range(3)] == [1, 11, 22]


def test_turns_are_taken_within_a_priority() -> None:
    """What urgent work costs is not charged to who comes later to those that wait for none of it."""
    scheduler = build(places=1)
    for index in range(5):
        scheduler.submit(of_client("a", f"urgent{index}", 50, priority=1))
        scheduler.submit(of_client("a", f"a{index}"))
    for index in range(5):
        step(scheduler)
        assert jobs(scheduler.running) == [f"urgent{index}"]
        scheduler.remove(f"urgent{index}")
    scheduler.submit(of_client("b", "b0"))
    assert jobs(scheduler.waiting)[:3] == ["a0", "b0", "a1"]


def test_what_goes_on_costs_what_is_left() -> None:
    scheduler = build(places=1)
    going_on = of_client("a", "a0", 100, 100)
    going_on.token_ids += [7] * 90
    scheduler.submit(going_on)
    for job in ("a1", "b0", "b1"):
        scheduler.submit(of_client(job[0], job, 5, 10))
    assert [jobs(scheduler.waiting), going_on.cost] == [["a0", "b0", "a1", "b1"], 10]
    assert step(scheduler) == [("a0", 190)]


def test_all_of_several_are_queued_or_none() -> None:
    scheduler = build(places=2, max_queue=2)
    scheduler.submit(sequence("a"))
    assert scheduler.capacity == 4
    for refused, code in ((["b", "c", "d", "e"], "overloaded"), (["b", "a"], "invalid_request")):
        with pytest.raises(StreaminferError) as caught:
            scheduler.submit(*map(sequence, refused))
        assert caught.value.code == code
    assert jobs(scheduler.waiting) == ["a"]
    scheduler.submit(*map(sequence, "bcd"))
    assert jobs(scheduler.waiting) == ["a", "b", "c", "d"]


def test_a_paused_one_gives_its_place_away_and_gets_it_back_in_its_turn() -> None:
    scheduler = build(places=2)
    for job in "abc":
        scheduler.submit(sequence(job, 40))
    step(scheduler)
    held = scheduler.blocks.used
    scheduler.pause("a")
    assert scheduler.blocks.used < held
    assert step(scheduler) == [("b", 1), ("c", 40)]
    assert (list(scheduler.paused), len(scheduler)) == (["a"], 2)
    scheduler.submit(sequence("d"))
    scheduler.resume("a")
    assert jobs(scheduler.waiting) == ["a", "d"], "before who came later"
    assert step(scheduler) == [("b", 1), ("c", 1)], "it interrupts nobody"
    scheduler.remove("b")
    assert step(scheduler) == [("c", 1), ("a", 9)], "what it had computed is still in the cache"


def test_a_paused_one_may_wait_be_paused_again_and_leave() -> None:
    scheduler = build(places=1)
    for job in "ab":
        scheduler.submit(sequence(job))
    for job in ("b", "b", "unknown", "a"):
        scheduler.pause(job)
    assert (scheduler.schedule(), len(scheduler), len(scheduler.paused)) == ([], 0, 2)
    for job in ("b", "b", "unknown"):
        scheduler.resume(job)
    assert step(scheduler) == [("b", 1)]
    with pytest.raises(RuntimeError, match="'paused': 1"):
        scheduler.check_idle()
    for job in "ab":
        assert scheduler.remove(job) == []
    scheduler.resume("a")
    scheduler.check_idle()


def test_paused_ones_take_no_room_in_the_queue_and_come_back_into_a_full_one() -> None:
    scheduler = build(places=1, max_queue=1)
    for job in "ab":
        scheduler.submit(sequence(job))
    scheduler.pause("a")
    scheduler.submit(sequence("c"))
    scheduler.resume("a")
    assert jobs(scheduler.waiting) == ["a", "b", "c"]
    scheduler.remove("b")
    with pytest.raises(StreaminferError, match="try again later"):
        scheduler.submit(sequence("d"))
    scheduler.remove("c")
    scheduler.submit(sequence("d"))


def test_the_higher_priority_goes_first_and_interrupts_nobody() -> None:
    scheduler = build(places=2)
    for job, priority in (("a", 0), ("b", 0), ("c", 1), ("d", 2), ("e", 1)):
        scheduler.submit(sequence(job, priority=priority))
        if job == "a":
            step(scheduler)
    assert jobs(scheduler.waiting) == ["d", "c", "e", "b"]
    step(scheduler)
    assert jobs(scheduler.running) == ["d", "a"]
    for _ in range(3):
        assert step(scheduler) == [("d", 1), ("a", 1)]
    scheduler.remove("a")
    step(scheduler)
    assert jobs(scheduler.running) == ["d", "c"]


def test_blocks_are_taken_as_positions_are_computed() -> None:
    scheduler = build(step_tokens=20)
    long = sequence("a", 50)
    scheduler.submit(long)
    held = []
    for _ in range(4):
        step(scheduler)
        held.append(len(long.blocks))
    assert held == [2, 3, 4, 4]


@pytest.mark.parametrize(("priorities", "leaves"), [((0, 0), "b"), ((0, 1), "a")])
def test_when_blocks_run_out_the_last_in_order_is_preempted(priorities: tuple[int, int], leaves: str) -> None:
    scheduler = build(blocks=4, places=2)
    sequences = {
        job: sequence(job, 30, max_tokens=20, priority=priority) for job, priority in zip("ab", priorities, strict=True)
    }
    scheduler.submit(sequences["a"])
    step(scheduler)
    scheduler.submit(sequences["b"])
    while not scheduler.preemptions:
        step(scheduler)
    stays = "ab".replace(leaves, "")
    left = sequences[leaves]
    assert (jobs(scheduler.running), jobs(scheduler.waiting)) == ([stays], [leaves])
    assert (left.blocks, left.computed) == ([], 0)
    scheduler.submit(sequence("c", 1))
    step(scheduler)
    assert jobs(scheduler.waiting) == [leaves, "c"], "nobody overtakes it, though there is room for a small one"
    scheduler.remove(stays)
    assert step(scheduler)[0] == (leaves, left.computed - BLOCK_TOKENS), "its head was still in the cache"
    assert left.cached_tokens == 0, "as it was when it first ran"
    assert scheduler.preemptions == 1


def test_nobody_is_let_in_whose_tokens_have_no_room() -> None:
    scheduler = build(blocks=4, step_tokens=16)
    scheduler.submit(sequence("a", 3 * BLOCK_TOKENS))
    scheduler.submit(sequence("b", 2 * BLOCK_TOKENS))
    for _ in range(10):
        step(scheduler)
    assert jobs(scheduler.running) == ["a"]
    scheduler.remove("a")
    assert step(scheduler) == [("b", 16)]
    assert scheduler.preemptions == 0


def test_a_cached_prefix_is_not_computed_again() -> None:
    scheduler = build()
    first = sequence("a", list(range(50)))
    scheduler.submit(first)
    assert step(scheduler) == [("a", 50)]
    second = sequence("b", [*range(40), 99])
    scheduler.submit(second)
    assert step(scheduler) == [("a", 1), ("b", 9)]
    assert second.blocks[:2] == first.blocks[:2]
    assert (first.cached_tokens, second.cached_tokens) == (0, 32)
    assert (scheduler.blocks.tokens_asked, scheduler.blocks.tokens_found) == (91, 32)


def test_the_next_turn_of_a_conversation_finds_the_answer_too() -> None:
    scheduler = build()
    first = sequence("a", list(range(20)))
    scheduler.submit(first)
    while first.generated < 30:
        step(scheduler)
    scheduler.remove("a")
    scheduler.submit(sequence("b", [*first.token_ids, *range(10)]))
    assert step(scheduler) == [("b", 60 - 48)]


def test_a_prefix_that_another_computes_is_waited_for() -> None:
    scheduler = build(step_tokens=20, places=4)
    prefix = list(range(50))
    scheduler.submit(sequence("a", [*prefix, 60]))
    scheduler.submit(sequence("b", [*prefix, 70]))
    scheduler.submit(sequence("c", 9))
    assert step(scheduler) == [("a", 20)]
    assert step(scheduler) == [("a", 20)]
    assert step(scheduler) == [("a", 11), ("c", 9)], "c goes on, b waits"
    assert step(scheduler) == [("a", 1), ("c", 1), ("b", 3)]
    assert scheduler.blocks.tokens_found == 48


def test_one_that_waits_for_a_prefix_keeps_its_place() -> None:
    scheduler = build(places=2)
    prefix = list(range(50))
    for job, last in (("a", 60), ("b", 70)):
        scheduler.submit(sequence(job, [*prefix, last]))
    scheduler.submit(sequence("c", 9))
    assert step(scheduler) == [("a", 51)]
    assert step(scheduler) == [("a", 1), ("b", 3)]


@pytest.mark.parametrize("discard", [False, True])
def test_a_prefix_whose_computer_leaves_is_computed_by_the_next(discard: bool) -> None:
    scheduler = build()
    prefix = list(range(50))
    for job, last in (("a", 60), ("b", 70), ("c", 80)):
        scheduler.submit(sequence(job, [*prefix, last]))
    assert plan(scheduler.schedule()) == [("a", 51)], "b and c wait for it"
    scheduler.remove("a", discard=discard)
    assert step(scheduler) == [("b", 51)]
    assert step(scheduler) == [("b", 1), ("c", 3)]


def test_a_prefix_that_cannot_be_shared_is_not_waited_for() -> None:
    scheduler = build(places=9)
    for job, last in (("a", 60), ("b", 70)):
        scheduler.submit(sequence(job, [*range(15), last, last]))
    assert step(scheduler) == [("a", 17), ("b", 17)], "less than a block is the same"
    for job in "cd":
        scheduler.submit(sequence(job, list(range(16))))
    assert step(scheduler)[2:] == [("c", 16), ("d", 16)], "the last token must be computed"
    block = list(range(16))
    scheduler.submit(sequence("e", [*[60] * 16, *block, 0]))
    scheduler.submit(sequence("f", [*block, *block, 0]))
    assert step(scheduler)[4:] == [("e", 33), ("f", 17)], "the same tokens after others are not the same"


def test_what_is_read_is_computed_though_it_is_cached() -> None:
    scheduler = build()
    prompt = list(range(60))
    scheduler.submit(sequence("a", prompt))
    step(scheduler)
    for job, reads_from in (("b", 0), ("c", 40), ("d", 59)):
        reading = sequence(job, prompt)
        reading.reads_from = reads_from
        scheduler.submit(reading)
    chunks = scheduler.schedule()
    assert plan(chunks) == [("a", 1), ("b", 60), ("c", 28), ("d", 12)]
    assert [chunk.outputs for chunk in chunks] == [1, 60, 20, 1]


def test_what_a_broken_sequence_computed_is_discarded() -> None:
    scheduler = build()
    prompt = list(range(40))
    broken = sequence("a", prompt)
    scheduler.submit(broken)
    step(scheduler)
    held = list(broken.blocks)
    assert sorted(scheduler.remove("a", discard=True)) == sorted(held)
    assert scheduler.remove("a", discard=True) == []
    scheduler.submit(sequence("b", prompt))
    assert step(scheduler) == [("b", 40)]


def test_what_is_computed_but_cannot_be_found_is_not_waited_for() -> None:
    scheduler = build()
    prompt = list(range(40))
    for job in "ab":
        scheduler.submit(sequence(job, prompt))
        step(scheduler)
    scheduler.remove("a", discard=True)
    scheduler.submit(sequence("c", prompt))
    assert step(scheduler) == [("b", 1), ("c", 40)]


def test_a_step_whose_sequence_left_meanwhile_counts_for_nobody() -> None:
    scheduler = build()
    left = sequence("a", 20)
    scheduler.submit(left)
    chunks = scheduler.schedule()
    assert scheduler.remove("a") == []
    scheduler.advance(chunks[0])
    scheduler.settle(chunks[0])
    assert left.computed == 0
    scheduler.check_idle()
    assert scheduler.blocks.find([*left.token_ids, 0]) == []


def test_idle_is_when_nothing_is_left() -> None:
    scheduler = build(places=1)
    scheduler.check_idle()
    for job in "ab":
        scheduler.submit(sequence(job, 20))
    step(scheduler)
    with pytest.raises(RuntimeError, match="'waiting': 1, 'running': 1"):
        scheduler.check_idle()
    for job in ("a", "b", "unknown"):
        assert scheduler.remove(job) == []
    scheduler.check_idle()
    scheduler.blocks.take(1)
    with pytest.raises(RuntimeError, match="not idle: 1 blocks"):
        scheduler.check_idle()
