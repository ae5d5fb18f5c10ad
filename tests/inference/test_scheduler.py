"""The scheduler's rule: budget kept, slots neither shared nor leaked, first come first served, one end each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.scheduler import Chunk, Scheduler, Vacancy
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.protocol import StreaminferError


def sequence(job: str, prompt: int = 1, max_tokens: int = 1) -> Sequence:
    return Sequence(job, list(range(prompt)), max_tokens)


def compute(chunks: list[Chunk]) -> None:
    """What a runtime does with a step: every sequence that caught up gets its next token."""
    for chunk in chunks:
        completes = chunk.completes
        chunk.sequence.computed += chunk.count
        if completes:
            chunk.sequence.token_ids.append(0)


def plan(chunks: list[Chunk]) -> list[tuple[str, int]]:
    return [(chunk.sequence.job, chunk.count) for chunk in chunks]


def test_decodes_and_chunked_prefill_mix() -> None:
    scheduler = Scheduler(slots=3, step_tokens=8, max_queue=9)
    scheduler.submit(sequence("a", 5))
    compute(scheduler.schedule())
    scheduler.submit(sequence("b", 20))
    scheduler.submit(sequence("c", 2))
    steps = []
    for _ in range(4):
        chunks = scheduler.schedule()
        steps.append(plan(chunks))
        compute(chunks)
    assert steps == [
        [("a", 1), ("b", 7)],
        [("a", 1), ("b", 7)],
        [("a", 1), ("b", 6), ("c", 1)],
        [("a", 1), ("b", 1), ("c", 1)],
    ]


def test_waiting_is_bounded_and_refusal_is_retryable() -> None:
    scheduler = Scheduler(slots=2, step_tokens=8, max_queue=1)
    for job in "abc":
        scheduler.submit(sequence(job))
    with pytest.raises(StreaminferError) as caught:
        scheduler.submit(sequence("d"))
    assert (caught.value.code, caught.value.info.retryable) == ("overloaded", True)
    scheduler.remove("c")
    scheduler.submit(sequence("d"))
    scheduler.schedule()
    assert list(scheduler.running) == ["a", "b"]


def test_the_last_slot_moves_into_the_gap() -> None:
    scheduler = Scheduler(slots=3, step_tokens=30, max_queue=9)
    for job, prompt in (("a", 4), ("b", 5), ("c", 6)):
        scheduler.submit(sequence(job, prompt))
    compute(scheduler.schedule())
    assert scheduler.remove("a") == Vacancy(slot=0, length=4, source=2, source_length=6)
    assert scheduler.running["c"].slot == 0
    assert scheduler.remove("b") == Vacancy(slot=1, length=5, source=1, source_length=5)
    assert scheduler.remove("b") is None
    assert scheduler.remove("unknown") is None


@given(
    slots=st.integers(1, 5),
    step_tokens=st.integers(1, 20),
    jobs=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 6), st.integers(0, 4)), max_size=15),
    data=st.data(),
)
def test_rule(slots: int, step_tokens: int, jobs: list[tuple[int, int, int]], data: st.DataObject) -> None:
    scheduler = Scheduler(slots, step_tokens, max_queue=100)
    arrivals = [sequence(f"{index}", prompt, limit) for index, (prompt, limit, _) in enumerate(jobs)]
    gaps = [gap for *_, gap in jobs]
    started: list[str] = []
    ended: list[str] = []
    cache: dict[int, str] = {}
    for _ in range(2000):
        while arrivals and (gaps[0] == 0 or not len(scheduler)):
            scheduler.submit(arrivals.pop(0))
            gaps.pop(0)
        gaps[:1] = [gap - 1 for gap in gaps[:1]]
        if not len(scheduler):
            break
        chunks = scheduler.schedule()
        assert chunks, "there is work, but nothing was scheduled"
        assert sum(chunk.count for chunk in chunks) <= scheduler.step_tokens
        assert all(0 < chunk.count <= chunk.sequence.pending for chunk in chunks)
        assert len({chunk.sequence.job for chunk in chunks}) == len(chunks)
        assert len(scheduler.running) <= slots
        started += [chunk.sequence.job for chunk in chunks if chunk.sequence.job not in started]
        for job, running in scheduler.running.items():
            assert running.slot is not None
            assert cache.setdefault(running.slot, job) == job, "a slot changed hands without a vacancy"
        assert sorted(cache) == list(range(len(scheduler.running)))
        decoding = [s.job for s in scheduler.running.values() if s.generated]
        assert set(decoding) <= {chunk.sequence.job for chunk in chunks}, "a running answer was left out of a step"
        compute(chunks)
        leaving = [chunk.sequence.job for chunk in chunks if chunk.sequence.generated >= chunk.sequence.max_tokens]
        everyone = [*scheduler.running, *scheduler.waiting]
        leaving += [job for job in data.draw(st.lists(st.sampled_from(everyone), max_size=1)) if job not in leaving]
        for job in leaving:
            slot = scheduler.running[job].slot if job in scheduler.running else None
            vacancy = scheduler.remove(job)
            assert (vacancy is None) == (slot is None)
            if vacancy is not None:
                assert cache[vacancy.slot] == job
                cache[vacancy.slot] = cache[vacancy.source]
                del cache[vacancy.source]
            ended.append(job)
    assert sorted(ended) == sorted(str(index) for index in range(len(jobs)))
    assert [int(job) for job in started] == sorted(int(job) for job in started), "not first come, first served"
    assert not cache
    assert not scheduler.occupants
