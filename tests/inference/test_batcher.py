"""The dynamic batcher on a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.batcher import Batcher, Part
from jupyter_streaminfer.protocol import StreaminferError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_flushes_when_full(clock: Clock) -> None:
    batcher: Batcher[int, int] = Batcher(3, 2.0, 10, clock)
    assert batcher.due_in() is None
    batcher.submit("a", [1])
    batcher.submit("b", [2])
    assert batcher.take() == []
    batcher.submit("c", [3])
    assert batcher.due_in() == 0.0
    assert batcher.take() == [Part("a", 0, [1]), Part("b", 0, [2]), Part("c", 0, [3])]
    assert batcher.due_in() is None


def test_flushes_when_the_oldest_has_waited(clock: Clock) -> None:
    batcher: Batcher[int, int] = Batcher(3, 2.0, 10, clock)
    batcher.submit("a", [1])
    clock.now += 0.0015
    batcher.submit("b", [2])
    assert batcher.due_in() == pytest.approx(0.0005)
    assert batcher.take() == []
    clock.now += 0.0006
    assert batcher.take() == [Part("a", 0, [1]), Part("b", 0, [2])]


def test_a_large_job_is_split_and_joined(clock: Clock) -> None:
    batcher: Batcher[int, int] = Batcher(3, 0.0, 10, clock)
    batcher.submit("big", [1, 2, 3, 4])
    batcher.submit("small", [5])
    assert batcher.take() == [Part("big", 0, [1, 2, 3])]
    assert batcher.complete("big", [10, 20, 30]) is None
    assert batcher.take() == [Part("big", 3, [4]), Part("small", 0, [5])]
    assert batcher.complete("big", [40]) == [10, 20, 30, 40]
    assert batcher.complete("small", [50]) == [50]
    assert len(batcher) == 0


def test_cancelling_the_oldest_gives_the_next_its_own_wait(clock: Clock) -> None:
    batcher: Batcher[int, int] = Batcher(3, 2.0, 10, clock)
    batcher.submit("a", [1])
    clock.now += 0.001
    batcher.submit("b", [2])
    batcher.cancel("a")
    batcher.cancel("a")
    assert batcher.due_in() == pytest.approx(0.002)
    batcher.cancel("b")
    assert batcher.due_in() is None
    assert batcher.take() == []


def test_queue_is_bounded(clock: Clock) -> None:
    batcher: Batcher[int, int] = Batcher(3, 2.0, 2, clock)
    batcher.submit("a", [1])
    batcher.submit("b", [1])
    with pytest.raises(StreaminferError) as caught:
        batcher.submit("c", [1])
    assert (caught.value.code, caught.value.info.retryable) == ("overloaded", True)
    batcher.cancel("a")
    batcher.submit("c", [1])


def test_a_job_is_queued_once(clock: Clock) -> None:
    batcher: Batcher[int, int] = Batcher(3, 0.0, 10, clock)
    batcher.submit("a", [1, 2])
    with pytest.raises(StreaminferError, match="'a' is under way already") as caught:
        batcher.submit("a", [3])
    assert caught.value.code == "invalid_request"
    assert batcher.take() == [Part("a", 0, [1, 2])]
    assert batcher.complete("a", [1, 2]) == [1, 2]
    assert batcher.due_in() is None
    batcher.submit("a", [3])
    assert batcher.take() == [Part("a", 0, [3])]


def test_one_row_waits_for_a_part_of_a_large_job_not_for_all_of_it(clock: Clock) -> None:
    batcher: Batcher[int, int] = Batcher(4, 0.0, 100, clock)
    batcher.submit("large", range(100), "a")
    for index in range(20):
        batcher.submit(f"more {index}", [index], "a")
    assert batcher.take() == [Part("large", 0, range(4))]
    batcher.submit("small", [7], "b")
    assert batcher.take() == [Part("small", 0, [7]), Part("large", 4, range(4, 7))]
    batcher.submit("second", [8], "b")
    batcher.submit("third", [9], "b")
    assert [part.job for part in batcher.take()] == ["second", "third", "large"]


@given(
    size=st.integers(1, 6),
    rows=st.lists(st.lists(st.integers(1, 20), min_size=30, max_size=30), min_size=2, max_size=3),
    late=st.integers(0, 5),
)
def test_clients_that_always_want_something_get_the_same(size: int, rows: list[list[int]], late: int) -> None:
    """But for a batch of each, however large their jobs are; one comes some batches later."""
    batcher: Batcher[int, int] = Batcher(size, 0.0, 1000, Clock())
    got = [0] * len(rows)

    def submit(client: int) -> None:
        for index, count in enumerate(rows[client]):
            batcher.submit(f"{client} {index}", range(count), f"{client}")

    def take() -> None:
        for part in batcher.take():
            got[int(part.job.split()[0])] += len(part.rows)
            batcher.complete(part.job, part.rows)

    for client in range(1, len(rows)):
        submit(client)
    for _ in range(late):
        take()
    submit(0)
    got = [0] * len(rows)
    while all(count < sum(all_of) - late * size for count, all_of in zip(got, rows, strict=True)):
        take()
        assert max(got) - min(got) <= 2 * size
    while batcher.due_in() is not None:
        take()
    assert len(batcher) == 0


@given(
    size=st.integers(1, 6),
    jobs=st.lists(st.tuples(st.integers(1, 14), st.integers(0, 3)), max_size=12),
    clients=st.lists(st.sampled_from("ab"), min_size=12, max_size=12),
    cancelled=st.dictionaries(st.integers(0, 11), st.integers(0, 15)),
)
def test_every_row_is_computed_once_in_order(
    size: int, jobs: list[tuple[int, int]], clients: list[str], cancelled: dict[int, int]
) -> None:
    clock = Clock()
    batcher: Batcher[tuple[str, int], tuple[str, int]] = Batcher(size, 2.0, 100, clock)
    arrivals = [(str(index), rows, gap) for index, (rows, gap) in enumerate(jobs)]
    seen: list[tuple[str, int]] = []
    done: dict[str, list[tuple[str, int]]] = {}
    gone: set[str] = set()
    for step in range(1000):
        for job, at in cancelled.items():
            if at == step and job < len(jobs) and str(job) not in done:
                batcher.cancel(str(job))
                gone.add(str(job))
        while arrivals and arrivals[0][2] <= step:
            job, rows, _ = arrivals.pop(0)
            if job not in gone:
                batcher.submit(job, [(job, row) for row in range(rows)], clients[int(job)])
        due = batcher.due_in()
        if due is None:
            if not arrivals:
                break
            continue
        assert due <= 0.002
        clock.now += due
        parts = batcher.take()
        assert 1 <= sum(len(part.rows) for part in parts) <= size
        for part in parts:
            assert part.job not in gone
            seen += part.rows
            outputs = batcher.complete(part.job, part.rows)
            if outputs is not None:
                done[part.job] = outputs
    assert len(seen) == len(set(seen))
    for client in "ab":
        own = [row for row in seen if clients[int(row[0])] == client]
        assert own == sorted(own, key=lambda row: (int(row[0]), row[1])), "a client's own are served as they come"
    assert {*done, *gone} == {str(index) for index in range(len(jobs))}
    assert not {*done} & gone
    for job, outputs in done.items():
        assert outputs == [(job, row) for row in range(jobs[int(job)][0])]
    assert len(batcher) == 0
