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
    batcher: Batcher[list[int], int] = Batcher(3, 2.0, 10, clock)
    assert batcher.due_in() is None
    batcher.submit("a", [1])
    batcher.submit("b", [2])
    assert batcher.take() == []
    batcher.submit("c", [3])
    assert batcher.due_in() == 0.0
    assert batcher.take() == [Part("a", 0, [1]), Part("b", 0, [2]), Part("c", 0, [3])]
    assert batcher.due_in() is None


def test_flushes_when_the_oldest_has_waited(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(3, 2.0, 10, clock)
    batcher.submit("a", [1])
    clock.now += 0.0015
    batcher.submit("b", [2])
    assert batcher.due_in() == pytest.approx(0.0005)
    assert batcher.take() == []
    clock.now += 0.0006
    assert batcher.take() == [Part("a", 0, [1]), Part("b", 0, [2])]


def test_a_large_job_is_split_and_joined(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(3, 0.0, 10, clock)
    batcher.submit("big", [1, 2, 3, 4])
    batcher.submit("small", [5])
    assert batcher.take() == [Part("big", 0, [1, 2, 3])]
    assert batcher.complete("big", [10, 20, 30]) is None
    assert batcher.take() == [Part("big", 3, [4]), Part("small", 0, [5])]
    assert batcher.complete("big", [40]) == [10, 20, 30, 40]
    assert batcher.complete("small", [50]) == [50]
    assert len(batcher) == 0


def test_cancelling_the_oldest_gives_the_next_its_own_wait(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(3, 2.0, 10, clock)
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
    batcher: Batcher[list[int], int] = Batcher(3, 2.0, 2, clock)
    batcher.submit("a", [1])
    batcher.submit("b", [1])
    with pytest.raises(StreaminferError) as caught:
        batcher.submit("c", [1])
    assert (caught.value.code, caught.value.info.retryable) == ("overloaded", True)
    batcher.cancel("a")
    batcher.submit("c", [1])


def test_a_job_is_queued_once(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(3, 0.0, 10, clock)
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
    batcher: Batcher[list[int], int] = Batcher(4, 0.0, 100, clock)
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
    """But for a batch of each and the one that is cut between them, however large their jobs are; one comes later."""
    batcher: Batcher[list[int], int] = Batcher(size, 0.0, 1000, Clock())
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
        assert max(got) - min(got) <= 3 * size
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
    batcher: Batcher[list[tuple[str, int]], tuple[str, int]] = Batcher(size, 2.0, 100, clock)
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


def test_a_preferred_size_goes_at_once_and_cuts_what_is_more(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(8, 2.0, 100, clock)
    batcher.configure(preferred=[4, 2, 64])
    batcher.submit("a", [1])
    assert batcher.due_in() == pytest.approx(0.002)
    batcher.submit("b", [2, 3, 4, 5])
    assert [len(part.rows) for part in batcher.take()] == [1, 3]
    assert batcher.due_in() == pytest.approx(0.002)
    clock.now += 0.003
    assert batcher.take() == [Part("b", 3, [5])]
    batcher.submit("c", list(range(12)))
    assert [len(batcher.take()[0].rows) for _ in range(2)] == [8, 4]
    assert batcher.flushes == {"full": 1, "preferred": 2, "timed": 1}
    assert batcher.taken == 17


def test_size_and_wait_change_under_way(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(8, 1000.0, 100, clock)
    batcher.submit("a", [1, 2, 3])
    assert batcher.due_in() == pytest.approx(1.0)
    batcher.configure(max_wait_ms=2.0)
    assert batcher.due_in() == pytest.approx(0.002)
    batcher.configure(max_batch_size=2)
    assert batcher.take() == [Part("a", 0, [1, 2])]
    batcher.configure(max_wait_ms=0.0)
    assert batcher.take() == [Part("a", 2, [3])]


def test_higher_priorities_go_first(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(2, 0.0, 100, clock)
    batcher.submit("low", [1, 2, 3], "a", priority=-1)
    batcher.submit("usual", [4], "a")
    batcher.submit("high", [5], "b", priority=100)
    assert [part.job for part in batcher.take()] == ["high", "usual"]
    assert batcher.take() == [Part("low", 0, [1, 2])]
    batcher.submit("urgent", [6], "a", priority=1)
    assert batcher.take() == [Part("urgent", 0, [6]), Part("low", 2, [3])]


def test_who_has_a_deadline_waits_half_of_it_for_company(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(8, 10.0, 100, clock)
    batcher.submit("patient", [1])
    batcher.submit("hurried", [2], expires_in=0.004)
    assert batcher.due_in() == pytest.approx(0.002)
    clock.now += 0.0021
    assert batcher.expire() == []
    assert [part.job for part in batcher.take()] == ["patient", "hurried"]


def test_what_expired_is_not_computed(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(2, 10.0, 100, clock)
    batcher.submit("a", [1], expires_in=0.004)
    batcher.submit("b", [2, 3, 4], expires_in=0.003)
    batcher.submit("c", [5])
    batcher.submit("gone", [6], expires_in=0.001)
    batcher.cancel("gone")
    assert batcher.take() == [Part("a", 0, [1]), Part("b", 0, [2])]
    assert batcher.complete("a", [1]) == [1]
    assert batcher.complete("b", [2]) is None
    clock.now += 0.005
    assert batcher.due_in() == 0.0
    assert batcher.expire() == ["b"], "what was begun expires too"
    assert batcher.expired == 1
    assert batcher.rows == 1
    clock.now += 0.006
    assert batcher.take() == [Part("c", 0, [5])]
    assert batcher.due_in() is None
    batcher.submit("late", [7], expires_in=-1.0)
    assert batcher.due_in() == 0.0
    assert batcher.expire() == ["late"]


def test_a_full_queue_says_when_to_come_again(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(3, 2.0, 1, clock)
    batcher.row_seconds = 0.01
    batcher.submit("a", [1] * 5)
    with pytest.raises(StreaminferError) as caught:
        batcher.submit("b", [1])
    assert caught.value.info.retry_after_ms == pytest.approx(50)


def test_rows_of_one_bucket_are_put_together(clock: Clock) -> None:
    batcher: Batcher[list[int], int] = Batcher(3, 0.0, 100, clock)
    for job, bucket in (("a", 4), ("long", 9), ("b", 4), ("longer", 9), ("c", 4), ("d", 4), ("longest", 10)):
        batcher.submit(job, [0], buckets=[(bucket,)])
    batcher.submit("mixed", [0, 1, 2], buckets=[(4,), (9,), (10,)])
    batches = []
    while parts := batcher.take():
        batches.append([(part.job, part.rows) for part in parts])
    assert batches == [
        [("a", [0]), ("b", [0]), ("c", [0])],
        [("long", [0]), ("longer", [0])],
        [("d", [0]), ("mixed", [0])],
        [("longest", [0])],
        [("mixed", [1])],
        [("mixed", [2])],
    ]


@given(
    size=st.integers(1, 5),
    jobs=st.lists(
        st.tuples(
            st.lists(st.integers(4, 6), min_size=1, max_size=6),
            st.integers(-1, 1),
            st.sampled_from([None, 0.0, 0.001, 1.0]),
            st.sampled_from("ab"),
        ),
        max_size=15,
    ),
    preferred=st.lists(st.integers(1, 8), max_size=2),
    cancelled=st.sets(st.integers(0, 14)),
    wait=st.sampled_from([0.0, 2.0]),
)
def test_every_job_ends_once_whatever_it_is_like(
    size: int,
    jobs: list[tuple[list[int], int, float | None, str]],
    preferred: list[int],
    cancelled: set[int],
    wait: float,
) -> None:
    """Computed, expired or cancelled: nothing is lost, mixed up, held back or computed after its time."""
    clock = Clock()
    batcher: Batcher[list[int], int] = Batcher(size, wait, 100, clock)
    batcher.configure(preferred=preferred)
    for index, (buckets, priority, expires_in, client) in enumerate(jobs):
        buckets.sort()
        batcher.submit(f"{index}", buckets, client, priority=priority, expires_in=expires_in, buckets=buckets)
    ended: set[str] = set()
    step = 0
    while (due := batcher.due_in()) is not None:
        assert due <= wait / 1000
        clock.now += due
        if step in cancelled and str(step) not in ended and step < len(jobs):
            batcher.cancel(f"{step}")
            ended.add(f"{step}")
        expired = batcher.expire()
        assert not ended & set(expired)
        ended |= set(expired)
        parts = batcher.take()
        rows = [row for part in parts for row in part.rows]
        assert len(rows) <= size
        assert len(set(rows)) <= 1, "rows of a batch are of one bucket"
        for part in parts:
            assert part.job not in ended
            expires_in = jobs[int(part.job)][2]
            assert expires_in is None or clock.now - 100.0 < expires_in
            if (whole := batcher.complete(part.job, part.rows)) is not None:
                assert whole == jobs[int(part.job)][0]
                ended.add(part.job)
        clock.now += 0.0004
        step += 1
        assert step < 1000
    assert len(ended) == len(jobs)
    assert len(batcher) == 0
    assert batcher.rows == 0
