"""Admission: the bounds of each client and of all, what a refusal says, and that everything is given back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from jupyter_streaminfer.engine.admission import Admission, Backlog, Ticket
from jupyter_streaminfer.engine.clients import MAX_RESTING
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.pressure import Load
from jupyter_streaminfer.protocol import ErrorInfo, StreaminferError

FREE = Backlog()


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def refusal(admission: Admission, client: str, tokens: int, backlog: Backlog = FREE) -> ErrorInfo:
    with pytest.raises(StreaminferError) as raised:
        admission.admit(client, tokens, backlog)
    return raised.value.info


def attempt(admission: Admission, client: str, tokens: int, backlog: Backlog = FREE) -> Ticket | ErrorInfo:
    try:
        return admission.admit(client, tokens, backlog)
    except StreaminferError as error:
        return error.info


def test_a_client_may_ask_so_often() -> None:
    clock = Clock()
    admission = Admission(EngineConfig(client_requests_per_s=4, client_requests_burst=2), clock)
    for _ in range(2):
        admission.admit("greedy", 10, FREE)
    info = refusal(admission, "greedy", 10)
    assert (info.code, info.retryable, info.retry_after_ms) == ("rate_limited", True, 250)
    assert "c.StreaminferApp.client_requests_per_s" in info.message
    admission.admit("modest", 10, FREE)
    clock.now += 0.249
    assert refusal(admission, "greedy", 10).retry_after_ms == pytest.approx(1, abs=0.002)
    clock.now += 0.001
    admission.admit("greedy", 10, FREE)
    assert admission.refused == {"rate_limited": 2}
    assert admission.admitted == 4


def test_a_client_may_take_so_many_tokens() -> None:
    clock = Clock()
    admission = Admission(EngineConfig(client_tokens_per_s=100, client_tokens_burst=500), clock)
    admission.admit("greedy", 400, FREE).close()
    info = refusal(admission, "greedy", 300)
    assert (info.code, info.retryable, info.retry_after_ms) == ("rate_limited", True, 2000)
    assert "c.StreaminferApp.client_tokens_per_s" in info.message
    admission.admit("greedy", 100, FREE)


@pytest.mark.parametrize(
    ("config", "limit", "option"),
    [
        (EngineConfig(client_tokens_per_s=100, client_tokens_burst=500), 500, "client_tokens_burst"),
        (EngineConfig(max_queued_tokens=700), 700, "max_queued_tokens"),
    ],
)
def test_what_can_never_pass_is_too_large(config: EngineConfig, limit: int, option: str) -> None:
    admission = Admission(config)
    info = refusal(admission, "a", limit + 1)
    assert (info.code, info.retryable, info.retry_after_ms) == ("too_large", False, None)
    assert str(limit) in info.message
    assert f"c.StreaminferApp.{option}" in info.message
    admission.admit("a", limit, FREE)


def test_a_burst_of_tokens_bounds_nobody_where_there_is_no_rate() -> None:
    Admission(EngineConfig(client_tokens_burst=10)).admit("a", 1000, FREE)


@given(
    rate=st.floats(0.05, 1000),
    tokens_rate=st.floats(0.5, 1000),
    start=st.floats(0, 1e6),
    asked=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 100)), max_size=20),
)
def test_after_exactly_the_time_it_says_the_same_request_is_admitted(rate, tokens_rate, start, asked) -> None:
    clock = Clock(start)
    config = EngineConfig(
        client_requests_per_s=rate, client_requests_burst=3, client_tokens_per_s=tokens_rate, client_tokens_burst=100
    )
    admission = Admission(config, clock)
    for pause, tokens in asked:
        clock.now += pause
        info = attempt(admission, "a", tokens)
        if isinstance(info, ErrorInfo):
            assert info.code == "rate_limited"
            assert info.retry_after_ms is not None
            begin = clock.now
            if info.retry_after_ms > 1:
                clock.now = begin + info.retry_after_ms / 1000 - 0.0005
                assert refusal(admission, "a", tokens).code == "rate_limited"
            clock.now = begin + info.retry_after_ms / 1000
            admission.admit("a", tokens, FREE)


def test_requests_that_are_not_ended_are_bounded() -> None:
    clock = Clock()
    admission = Admission(EngineConfig(max_pending_per_client=2), clock)
    first, _ = admission.admit("a", 1000, FREE), admission.admit("a", 1000, FREE)
    other = admission.admit("b", 100_000, FREE)
    assert refusal(admission, "a", 1).retry_after_ms == 1000  # nothing was measured yet
    for _ in range(40):
        clock.now += 0.25
        other.progress(500)
    info = refusal(admission, "a", 1)
    assert (info.code, info.retryable) == ("rate_limited", True)
    assert info.retry_after_ms == (82_000 / 2) / 2000 * 1000
    assert "c.StreaminferApp.max_pending_per_client" in info.message
    first.close()
    admission.admit("a", 1, FREE)


def test_queued_tokens_are_bounded_and_the_wait_is_what_it_takes() -> None:
    clock = Clock()
    admission = Admission(EngineConfig(max_queued_tokens=10_000), clock)
    ticket = admission.admit("a", 10_000, FREE)
    for _ in range(20):
        clock.now += 0.25
        ticket.progress(100)
    assert admission.tokens_per_second == 400
    admission.admit("b", 1500, FREE)
    info = refusal(admission, "c", 1000)
    assert (info.code, info.retryable, info.retry_after_ms) == ("overloaded", True, 500 / 400 * 1000)
    assert "c.StreaminferApp.max_queued_tokens" in info.message
    for _ in range(4):
        assert refusal(admission, "c", 1000).code == "overloaded"
        clock.now += 1.25 / 5
        ticket.progress(100)
    clock.now += 1.25 / 5
    ticket.progress(100)
    admission.admit("c", 1000, FREE)


FULL_CACHE = Backlog(cache_used=0.96, waiting=1)


@pytest.mark.parametrize(
    ("backlog", "option"),
    [
        (FULL_CACHE, "max_cache_used"),
        (Backlog(load=Load(memory_used=0.98)), "max_memory_used"),
        (Backlog(load=Load(gpu_memory_used=0.99)), "max_gpu_memory_used"),
        (Backlog(load=Load(gpu_utilisation=0.85, gpu_memory_used=0.1)), "max_gpu_utilisation"),
    ],
)
def test_a_full_machine_is_overloaded(backlog: Backlog, option: str) -> None:
    admission = Admission(EngineConfig(max_gpu_utilisation=0.8), Clock())
    info = refusal(admission, "a", 10, backlog)
    assert (info.code, info.retryable, info.retry_after_ms) == ("overloaded", True, 1000)
    assert f"c.StreaminferApp.{option} " in info.message
    assert admission.refused == {"overloaded": 1}
    assert (admission.pending, admission.queued_tokens, admission.clients) == (0, 0, 0)


@pytest.mark.parametrize(
    "backlog",
    [
        Backlog(cache_used=1.0, waiting=0),
        Backlog(cache_used=0.95, waiting=5),
        Backlog(load=Load(memory_used=0.97, gpu_utilisation=1.0, gpu_memory_used=0.98)),
    ],
)
def test_up_to_its_bounds_it_is_not(backlog: Backlog) -> None:
    Admission(EngineConfig()).admit("a", 10, backlog)


def test_pauses_between_requests_do_not_make_it_seem_slow() -> None:
    clock = Clock()
    admission = Admission(EngineConfig(max_queued_tokens=1000), clock)
    for _ in range(10):
        ticket = admission.admit("a", 100, FREE)
        clock.now += 0.5
        ticket.close()
        clock.now += 60
    admission.admit("a", 900, FREE)
    assert refusal(admission, "b", 500).retry_after_ms == 400 / 200 * 1000


def test_the_wait_for_room_in_the_cache_follows_the_rate() -> None:
    clock = Clock()
    admission = Admission(EngineConfig(), clock)
    tickets = [admission.admit("a", 10_000, FREE) for _ in range(4)]
    for _ in range(20):
        clock.now += 0.25
        for ticket in tickets:
            ticket.progress(100)
    info = refusal(admission, "a", 10, Backlog(cache_used=1.0, waiting=3))
    assert info.retry_after_ms == 8000 / 1600 * 1000


def test_a_refusal_takes_nothing() -> None:
    clock = Clock()
    config = EngineConfig(
        client_requests_per_s=1, client_requests_burst=1, client_tokens_per_s=1, client_tokens_burst=10
    )
    admission = Admission(config, clock)
    for _ in range(5):
        assert refusal(admission, "a", 10, FULL_CACHE).code == "overloaded"
    ticket = admission.admit("a", 10, FREE)
    for _ in range(5):  # neither bucket has what is asked; each further one would make the wait longer
        assert refusal(admission, "a", 10).retry_after_ms == 10_000
    assert (admission.pending, admission.queued_tokens) == (1, 10)
    ticket.close()


def test_what_is_computed_beyond_what_was_asked_for_counts_for_nothing() -> None:
    admission = Admission(EngineConfig())
    ticket, other = admission.admit("a", 10, FREE), admission.admit("b", 10, FREE)
    ticket.progress(25)
    assert admission.queued_tokens == 10
    ticket.close()
    ticket.progress(5)
    ticket.close()
    assert (admission.pending, admission.queued_tokens, admission.clients) == (1, 10, 1)
    other.close()
    assert (admission.pending, admission.queued_tokens, admission.clients) == (0, 0, 0)


def test_the_rate_is_nothing_while_there_is_nothing_to_do() -> None:
    clock = Clock()
    admission = Admission(EngineConfig(), clock)
    assert admission.tokens_per_second == 0
    ticket = admission.admit("a", 1000, FREE)
    clock.now += 2
    ticket.progress(600)
    assert admission.tokens_per_second == 300
    ticket.close()
    assert admission.tokens_per_second == 0


def kept(admission: Admission) -> int:
    """Clients that are remembered."""
    return len(admission._clients)


def test_whoever_has_nothing_under_way_and_may_take_all_is_forgotten() -> None:
    clock = Clock()
    admission = Admission(EngineConfig(client_requests_per_s=1, client_requests_burst=5), clock)
    for index in range(100):
        admission.admit(f"client {index}", 1, FREE).close()
    assert kept(admission) == 100
    assert admission.clients == 0
    staying = admission.admit("staying", 1, FREE)
    clock.now += 1
    admission.admit("last", 1, FREE).close()
    assert kept(admission) == 2
    staying.close()
    clock.now += 1
    admission.admit("last", 1, FREE).close()
    assert kept(admission) == 1


def test_whoever_is_not_limited_is_forgotten_at_once_and_who_is_refused_never_kept() -> None:
    admission = Admission(EngineConfig(), Clock())
    for index in range(100):
        admission.admit(f"client {index}", 1, FREE).close()
        refusal(admission, f"refused {index}", 1, FULL_CACHE)
    assert kept(admission) == 0


def test_the_number_of_those_that_rest_is_bounded() -> None:
    admission = Admission(EngineConfig(client_requests_per_s=0.001, client_requests_burst=2), Clock())
    for index in range(MAX_RESTING + 50):
        admission.admit(f"client {index}", 1, FREE).close()
    assert kept(admission) == MAX_RESTING


def test_coming_and_going_does_not_refill_a_bucket() -> None:
    clock = Clock()
    admission = Admission(EngineConfig(client_requests_per_s=1, client_requests_burst=5), clock)
    admitted = 0
    for _ in range(400):
        clock.now += 0.05
        if isinstance(ticket := attempt(admission, "a", 1), Ticket):
            ticket.close()
            admitted += 1
    assert admitted in (5 + 19, 5 + 20)


class AnySequence(RuleBasedStateMachine):
    """Whatever is admitted, computed, refused and closed: the sums are those of the open tickets."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.config = EngineConfig(
            client_requests_per_s=2,
            client_requests_burst=4,
            client_tokens_per_s=50,
            client_tokens_burst=100,
            max_pending_per_client=3,
            max_queued_tokens=150,
        )
        self.admission = Admission(self.config, self.clock)
        self.open: dict[Ticket, tuple[str, int]] = {}
        self.refused = 0

    @rule(target=tickets, client=st.sampled_from("abc"), tokens=st.integers(0, 120), full=st.booleans())
    def admit(self, client: str, tokens: int, full: bool) -> Ticket | None:
        mine = [name for name, _ in self.open.values()].count(client)
        ticket = attempt(self.admission, client, tokens, Backlog(cache_used=float(full), waiting=1))
        if isinstance(ticket, ErrorInfo):
            self.refused += 1
            assert ticket.retryable == (tokens <= 100)
            if ticket.retryable:
                assert ticket.retry_after_ms is not None
                assert 0 < ticket.retry_after_ms <= 60_000
            else:
                assert ticket.code == "too_large"
            return None
        assert not full
        assert mine < 3
        assert tokens <= 100
        self.open[ticket] = client, tokens
        return ticket

    @rule(ticket=tickets, tokens=st.integers(0, 60))
    def progress(self, ticket: Ticket | None, tokens: int) -> None:
        if ticket is not None:
            ticket.progress(tokens)
            if ticket in self.open:
                client, left = self.open[ticket]
                self.open[ticket] = client, max(0, left - tokens)

    @rule(ticket=tickets)
    def close(self, ticket: Ticket | None) -> None:
        if ticket is not None:
            ticket.close()
            self.open.pop(ticket, None)

    @rule(ticket=consumes(tickets))
    def close_for_good(self, ticket: Ticket | None) -> None:
        self.close(ticket)

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def sums(self) -> None:
        assert self.admission.pending == len(self.open)
        assert self.admission.queued_tokens == sum(left for _, left in self.open.values()) <= 150
        assert self.admission.clients == len({client for client, _ in self.open.values()})
        assert sum(self.admission.refused.values()) == self.refused
        assert self.admission.tokens_per_second >= 0

    def teardown(self) -> None:
        for ticket in self.open:
            ticket.close()
        assert (self.admission.pending, self.admission.queued_tokens, self.admission.clients) == (0, 0, 0)
        assert self.admission.tokens_per_second == 0
        self.clock.now += 1000
        self.admission.admit("last", 100, FREE).close()
        assert kept(self.admission) == 1


AnySequence.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnySequence = AnySequence.TestCase
