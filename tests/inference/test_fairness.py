"""Start-time fair queueing: alone in order, together by turns, and nothing kept of those that are gone."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.fairness import MAX_IDLE_CLIENTS, Fairness
from jupyter_streaminfer.protocol import StreaminferError

CLIENTS = "abc"


@dataclass
class Served:
    """A job that began."""

    client: str
    cost: int
    backlogged: dict[str, int]
    """Who had jobs waiting just before: the number of times that this client's last had gone."""


@dataclass
class Queue:
    """Serves jobs by their tags in so many places."""

    places: int
    fairness: Fairness = field(default_factory=Fairness)
    waiting: list[tuple[int, int, str, int]] = field(default_factory=list)
    """Tag, number, client and cost."""
    running: list[int] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    emptied: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLIENTS, 0))
    arrivals: int = 0

    def enter(self, client: str, cost: int) -> int:
        """The new job's number."""
        number = self.arrivals
        self.arrivals += 1
        self.waiting.append((self.fairness.enter(f"{number}", client, cost), number, client, cost))
        return number

    def cancel(self, number: int) -> None:
        """Of one that waits."""
        self.waiting = [job for job in self.waiting if job[1] != number]
        self.fairness.leave(f"{number}")

    def serve(self) -> int | None:
        """Let the next job begin, and the first one end for which there is no place any more."""
        if len(self.running) == self.places or (self.running and not self.waiting):
            self.fairness.leave(f"{self.running.pop(0)}")
        if not self.waiting:
            return None
        backlogged = {client: self.emptied[client] for _, _, client, _ in self.waiting}
        job = min(self.waiting)
        self.waiting.remove(job)
        _, number, client, cost = job
        self.fairness.begin(f"{number}")
        self.running.append(number)
        self.served.append(Served(client, cost, backlogged))
        self.emptied[client] += all(other != client for _, _, other, _ in self.waiting)
        return number


Steps = list[tuple[str, int] | None]
STEPS = st.lists(st.none() | st.tuples(st.sampled_from(CLIENTS), st.integers(1, 1000)), max_size=80)
"""A job that comes, or one that is served."""


@given(steps=STEPS, places=st.integers(1, 4))
def test_two_that_always_want_something_get_the_same(steps: Steps, places: int) -> None:
    """But for one job of each, between any two moments between which both have jobs waiting."""
    queue = Queue(places)
    for step in steps:
        if step is None:
            queue.serve()
        else:
            queue.enter(*step)
    while queue.waiting:
        queue.serve()
    most = {client: max((one.cost for one in queue.served if one.client == client), default=0) for client in CLIENTS}
    for pair in combinations(CLIENTS, 2):
        for first, begin in enumerate(queue.served):
            got = dict.fromkeys(CLIENTS, 0)
            for one in queue.served[first:]:
                if any(one.backlogged.get(client, -1) != begin.backlogged.get(client, -2) for client in pair):
                    break
                got[one.client] += one.cost
                assert abs(got[pair[0]] - got[pair[1]]) <= most[pair[0]] + most[pair[1]]


@given(steps=STEPS, cancelled=st.sets(st.integers(0, 80)), places=st.integers(1, 4))
def test_alone_first_come_is_first_served(steps: Steps, cancelled: set[int], places: int) -> None:
    """Whoever is cancelled meanwhile."""
    queue = Queue(places)
    order: list[int] = []
    for index, step in enumerate(steps):
        if step is not None:
            queue.enter("a", step[1])
        elif (number := queue.serve()) is not None:
            order.append(number)
        if index in cancelled and queue.waiting:
            queue.cancel(queue.waiting[index % len(queue.waiting)][1])
    while (number := queue.serve()) is not None:
        order.append(number)
    assert order == sorted(order)


@given(costs=st.lists(st.integers(1, 1000), min_size=1, max_size=50), served=st.integers(0, 60), cost=st.integers(1, 9))
def test_one_of_many_others_waits_for_nobody_who_waits(costs: list[int], served: int, cost: int) -> None:
    """But for whose turn it is already."""
    queue = Queue(3)
    for one in costs:
        queue.enter("a", one)
    for _ in range(served):
        queue.serve()
    number = queue.enter("b", cost)
    assert number in [queue.serve(), queue.serve()]


def test_who_asks_for_one_at_a_time_pays_for_it_all_the_same() -> None:
    """A client is not new again each time that its last job ends."""
    queue = Queue(1)
    for _ in range(1000):
        queue.enter("a", 10)
    got = dict.fromkeys("ab", 0)
    mine = queue.enter("b", 100)
    for _ in range(500):
        if queue.serve() == mine:
            got["b"] += 100
            queue.serve()  # its job ends
            mine = queue.enter("b", 100)
        got["a"] += 10
        assert abs(got["a"] - got["b"]) <= 110


def test_what_never_began_costs_nothing() -> None:
    queue = Queue(1)
    queue.enter("a", 10)
    queue.serve()
    waiting = [queue.enter("b", 1000) for _ in range(20)]
    for number in waiting:
        queue.cancel(number)
    queue.enter("c", 10)
    late = queue.enter("c", 10)
    mine = queue.enter("b", 10)
    assert queue.serve() != late
    assert mine in [queue.serve()]
    assert queue.serve() == late


@given(data=st.data())
def test_nobody_waits_for_ever(data: st.DataObject) -> None:
    """However many come after it, of its own client's or others'."""
    queue = Queue(2)
    for _ in range(data.draw(st.integers(0, 10))):
        queue.enter(data.draw(st.sampled_from(CLIENTS)), data.draw(st.integers(1, 50)))
        queue.serve()
    before = len(queue.waiting)
    last = queue.enter("a", 50)
    for turn in range(200):
        if queue.serve() == last:
            break
        queue.enter("b", 25)
        queue.enter("c", 25)
        assert turn <= before + 2 * 20
    else:
        raise AssertionError("it never began")


def test_one_that_is_served_in_parts_lets_others_in_between() -> None:
    fairness = Fairness()
    assert fairness.enter("long", "a", 1000) == 0
    fairness.begin("long")
    fairness.advance(300)
    assert fairness.enter("new", "b", 10) == 300
    assert fairness.enter("next", "a", 10) == 1000


def test_a_job_is_known_once() -> None:
    fairness = Fairness()
    fairness.enter("1", "a", 5)
    with pytest.raises(StreaminferError, match="'1' is under way already") as caught:
        fairness.enter("1", "b", 5)
    assert (caught.value.code, caught.value.info.retryable) == ("invalid_request", False)
    fairness.leave("1")
    assert (len(fairness), fairness.clients) == (0, 0)


def test_of_clients_that_are_gone_little_is_kept() -> None:
    fairness = Fairness()
    draw = random.Random(0)
    fairness.enter("always", "always", 10)
    for number in range(5 * MAX_IDLE_CLIENTS):
        fairness.enter(f"{number}", f"client {number}", draw.randrange(1, 10**6))
        if draw.random() < 0.9:
            fairness.begin(f"{number}")
        fairness.leave(f"{number}")
        assert fairness.clients <= MAX_IDLE_CLIENTS + 1
    fairness.leave("always")
    assert (len(fairness), fairness.clients) == (0, 0)


def test_those_who_are_not_ahead_are_forgotten() -> None:
    fairness = Fairness()
    fairness.enter("always", "always", 10**6)
    for number in range(20):
        fairness.enter(f"{number}", f"client {number}", 10)
        fairness.begin(f"{number}")
        fairness.leave(f"{number}")
    assert fairness.clients == 21
    fairness.advance(10)
    fairness.enter("new", "new", 10)
    fairness.begin("new")
    fairness.leave("new")
    assert fairness.clients == 2, "who is ahead still: the new one, beside the one that is there"
