"""The scheduler's rule, whatever comes: budgets kept, everyone served in turn, blocks neither lost nor mixed up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS, Blocks
from jupyter_streaminfer.inference.scheduler import Chunk, Scheduler
from jupyter_streaminfer.inference.sequence import Sequence


def build(blocks: int, places: int, step_tokens: int) -> Scheduler:
    return Scheduler(Blocks(blocks), max_batch_size=places, step_tokens=step_tokens, max_queue=100)


def blocks_of(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)


def jobs(sequences: list[Sequence]) -> list[str]:
    return [sequence.job for sequence in sequences]


class Simulation:
    """A generator whose model writes into each position which tokens it was computed from."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.memory: dict[tuple[int, int], int] = {}
        self.live: dict[str, Sequence] = {}
        self.seen: list[Sequence] = []
        self.writes: list[tuple[Sequence, int]] = []
        """Each position that was computed, and for whom."""
        self.wanted: dict[str, list[int]] = {}
        """Positions of each sequence that is read whose hidden states it has not got yet."""

    def submit(self, sequence: Sequence) -> None:
        self.scheduler.submit(sequence)
        self.live[sequence.job] = sequence
        self.seen.append(sequence)
        if sequence.reads_from is not None:
            self.wanted[sequence.job] = list(range(sequence.reads_from, sequence.prompt_tokens))

    def remove(self, job: str, *, discard: bool = False) -> None:
        held = set(self.live[job].blocks)
        freed = self.scheduler.remove(job, discard=discard)
        used = {block for sequence in self.scheduler.running for block in sequence.blocks}
        assert not used & set(freed)
        if discard:
            assert held - used <= set(freed)
            assert not held & set(self.scheduler.blocks.find([*self.live[job].token_ids, 0]))
        self.memory = {at: content for at, content in self.memory.items() if at[0] not in freed}
        del self.live[job]

    def pause(self, job: str) -> None:
        """Whether it waits, runs or is paused already: others get what it had, and what it computed is still found."""
        scheduler, sequence = self.scheduler, self.live[job]
        found = scheduler.blocks.find([*sequence.token_ids, 0])
        scheduler.pause(job)
        assert (sequence.blocks, sequence.computed) == ([], 0)
        assert sequence not in scheduler.running
        assert sequence not in scheduler.waiting
        assert scheduler.blocks.find([*sequence.token_ids, 0]) == found

    def resume(self, job: str) -> None:
        """Whether it is paused or not: those that run go on."""
        running = list(self.scheduler.running)
        self.scheduler.resume(job)
        assert self.scheduler.running == running
        assert self.live[job] in [*running, *self.scheduler.waiting]

    @property
    def active(self) -> list[str]:
        """Those that are not paused."""
        return [job for job in self.live if job not in self.scheduler.paused]

    def step(self, prefill_tokens: int | None, leaving: list[str]) -> None:
        """One step; ``leaving`` go while it is computed."""
        waited = list(self.scheduler.waiting)
        preemptions = self.scheduler.preemptions
        chunks = self.scheduler.schedule(prefill_tokens)
        self.check_plan(chunks, prefill_tokens)
        self.check_order(waited, self.scheduler.preemptions - preemptions)
        self.compute(chunks)
        completing = [chunk.sequence for chunk in chunks if chunk.completes]
        for job in leaving:
            self.remove(job)
        assert set(self.scheduler.paused) <= set(self.live)
        assert len(self.scheduler) == len(self.active)
        for chunk in chunks:
            self.scheduler.advance(chunk)
            self.scheduler.settle(chunk)
            chunk.sequence.started = True
        for sequence in completing:
            if sequence.job in self.wanted:
                assert not self.wanted[sequence.job], "it was not read to its end"
            if sequence.job in self.live:
                sequence.token_ids.append(hash(tuple(sequence.token_ids)) % 2)
                if sequence.generated >= sequence.max_tokens:
                    self.remove(sequence.job)

    def check_plan(self, chunks: list[Chunk], prefill_tokens: int | None) -> None:
        scheduler = self.scheduler
        assert chunks, "there is work, but nothing was scheduled"
        assert sum(chunk.count for chunk in chunks) <= scheduler.step_tokens
        if prefill_tokens is not None:
            assert sum(chunk.count - 1 for chunk in chunks) <= prefill_tokens
        assert all(0 < chunk.count <= chunk.sequence.pending for chunk in chunks)
        assert sorted(plan_jobs := [chunk.sequence.job for chunk in chunks]) == sorted(jobs(scheduler.running))
        assert len(set(plan_jobs)) == len(plan_jobs) <= scheduler.max_batch_size
        assert sorted([*plan_jobs, *jobs(scheduler.waiting)]) == sorted(self.active)
        for chunk in chunks:
            assert len(chunk.sequence.blocks) == blocks_of(chunk.sequence.computed + chunk.count)
        for waiting in scheduler.waiting:
            assert (waiting.blocks, waiting.computed) == ([], 0)
        used = {block for running in scheduler.running for block in running.blocks}
        assert scheduler.blocks.used == len(used)

    def check_order(self, waited: list[Sequence], preempted: int) -> None:
        """Those let in overtook nobody but who waits for another's prefix; a client's own wait as they came."""
        scheduler = self.scheduler
        priorities = [sequence.priority for sequence in scheduler.waiting]
        assert priorities == sorted(priorities, reverse=True)
        arrived = sorted(self.live.values(), key=lambda sequence: -sequence.priority)
        for client in CLIENTS:
            own = [sequence for sequence in scheduler.waiting if sequence.client == client]
            assert own == [sequence for sequence in arrived if sequence in own]
        admitted = [sequence for sequence in scheduler.running if sequence in waited]
        assert not (admitted and preempted)
        assert [s for s in scheduler.waiting if s in waited] == [s for s in waited if s not in admitted]
        for late in scheduler.waiting:
            if any(waited.index(late) < waited.index(other) for other in admitted):
                end = (len(scheduler.blocks.find(late.token_ids)) + 1) * BLOCK_TOKENS
                assert end < len(late.token_ids)
                assert any(other.token_ids[:end] == late.token_ids[:end] for other in scheduler.running)

    def compute(self, chunks: list[Chunk]) -> None:
        """Write each chunk's positions, then let it read all from its first."""
        findable = {block for seen in self.seen for block in self.scheduler.blocks.find([*seen.token_ids, 0])}
        holders = [block for running in self.scheduler.running for block in running.blocks]
        for chunk in chunks:
            sequence = chunk.sequence
            for position in range(sequence.computed, sequence.computed + chunk.count):
                block = sequence.blocks[position // BLOCK_TOKENS]
                assert block not in findable, "a registered block is written"
                assert holders.count(block) == 1, "a block of two is written"
                self.memory[block, position % BLOCK_TOKENS] = content(sequence, position)
                self.writes.append((sequence, position))
            end = sequence.computed + chunk.count
            for position in range(end - chunk.outputs, end if sequence.job in self.wanted else 0):
                assert self.wanted[sequence.job].pop(0) == position, "it is read twice, or in part"
        for chunk in chunks:
            for position in range(chunk.sequence.computed + chunk.count):
                at = chunk.sequence.blocks[position // BLOCK_TOKENS], position % BLOCK_TOKENS
                assert self.memory.get(at) == content(chunk.sequence, position), "it reads what is not its own"


def content(sequence: Sequence, position: int) -> int:
    return hash(tuple(sequence.token_ids[: position + 1]))


CLIENTS = "ab"
STEMS = [[0] * 70, [0] * 20 + [1] * 50]
"""What prompts begin with, so that many share a block or more."""


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[int, Sequence]]:
    """Sequences, and after how many steps each follows the one before."""
    arriving = []
    for index in range(draw(st.integers(1, 9))):
        stem = draw(st.sampled_from(STEMS))[: draw(st.integers(0, 70))]
        token_ids = stem + [2] * draw(st.integers(0 if stem else 1, 20))
        priority = draw(st.sampled_from([0, 0, 0, 1, -1]))
        client = draw(st.sampled_from(CLIENTS))
        new = Sequence(f"{index}", token_ids, draw(st.integers(1, 40)), priority=priority, client=client)
        if draw(st.sampled_from([False, False, True])):
            new.max_tokens = 1
            new.reads_from = draw(st.integers(0, new.prompt_tokens - 1))
        arriving.append((draw(st.sampled_from([0, 0, 1, 5])), new))
    return arriving


@settings(max_examples=200)
@given(
    arriving=arrivals(),
    places=st.integers(1, 5),
    step_tokens=st.sampled_from([1, 7, 40, 200]),
    spare_blocks=st.sampled_from([0, 1, 3, 9]),
    data=st.data(),
)
def test_rule(
    arriving: list[tuple[int, Sequence]], places: int, step_tokens: int, spare_blocks: int, data: st.DataObject
) -> None:
    needed = max(blocks_of(new.prompt_tokens + new.max_tokens) for _, new in arriving)
    scheduler = build(needed + spare_blocks, places, step_tokens)
    simulation = Simulation(scheduler)
    pace = data.draw(st.lists(st.sampled_from([None, 0, 1, 16]), min_size=1, max_size=4))
    # Most steps go undisturbed: a choice for each would make the example too long.
    disturbances = data.draw(st.dictionaries(st.integers(0, 60), st.tuples(st.integers(0, 8), st.integers(0, 8))))
    gap = 0
    for number in range(3000):
        while arriving and (gap >= arriving[0][0] or not simulation.active):
            simulation.submit(arriving.pop(0)[1])
            gap = 0
        gap += 1
        if not simulation.live:
            break
        leaving: list[str] = []
        chosen, how = disturbances.get(number, (0, None))
        job = list(simulation.live)[chosen % len(simulation.live)]
        if how == 0:
            leaving = [job]
        elif how == 1 or (how == 2 and simulation.live[job].blocks):
            simulation.remove(job, discard=how == 2)
        elif how is not None:
            (simulation.pause if how < 7 else simulation.resume)(job)
        if not simulation.active:
            assert scheduler.schedule() == []
            for paused in list(scheduler.paused):
                simulation.resume(paused)
        if simulation.live:
            simulation.step(pace[number % len(pace)], leaving)
    assert not simulation.live, "not everyone came to its end"
    scheduler.check_idle()
    assert sorted(scheduler.blocks.take(scheduler.blocks.count) or []) == list(range(scheduler.blocks.count))


@settings(max_examples=100)
@given(arriving=arrivals(), places=st.integers(1, 5), step_tokens=st.sampled_from([1, 7, 40, 200]))
def test_a_prefix_is_computed_once(arriving: list[tuple[int, Sequence]], places: int, step_tokens: int) -> None:
    simulation = Simulation(build(200, places, step_tokens))
    for _, new in arriving:
        new.max_tokens = 1
        simulation.submit(new)
    while simulation.live:
        simulation.step(None, [])
    shareable = [
        (position, content(written, end - 1))
        for written, position in simulation.writes
        if written.reads_from is None and (end := (position // BLOCK_TOKENS + 1) * BLOCK_TOKENS) < written.prompt_tokens
    ]
    assert len(shareable) == len(set(shareable))
    assert simulation.scheduler.preemptions == 0


def test_a_preempted_reading_goes_on_where_it_was() -> None:
    simulation = Simulation(build(4, 2, 20))
    simulation.submit(Sequence("a", [0] * 15, 20))
    simulation.step(None, [])
    simulation.submit(Sequence("b", [1] * 47, 1, reads_from=10))
    while simulation.live:
        simulation.step(None, [])
    assert simulation.scheduler.preemptions == 1
    assert simulation.wanted == {"b": []}
