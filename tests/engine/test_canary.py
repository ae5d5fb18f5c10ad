"""When a canary is taken out: for what it did, and hardly ever by chance."""

from __future__ import annotations

import logging
import random

import pytest

from jupyter_streaminfer.engine.arms import ArmFigures
from jupyter_streaminfer.engine.canary import Trial
from jupyter_streaminfer.engine.routing import Router
from jupyter_streaminfer.protocol import Arm, Canary, Route

USERS = [f"user {number}" for number in range(2000)]


def figures(latencies: list[float], errors: int = 0) -> ArmFigures:
    made = ArmFigures()
    for latency in latencies:
        made.answered(latency)
    for _ in range(errors):
        made.failed("internal")
    return made


def run(canary: Canary, error_rate: float, slower: float, requests: int, seed: int) -> int | None:
    """After how many requests it was taken out, if it was; latencies are as uneven as real ones."""
    draw = random.Random(seed)
    trial, arm, mine = Trial(canary), ArmFigures(), ArmFigures()
    for count in range(1, requests + 1):
        for _ in range(4):
            arm.answered(draw.lognormvariate(1, 0.8))
        if draw.random() < error_rate:
            mine.failed("internal")
        else:
            mine.answered(slower * draw.lognormvariate(1, 0.8))
        if trial.verdict(mine, [arm]) is not None:
            return count
    return None


def test_it_is_not_judged_before_it_answered_enough() -> None:
    trial = Trial(Canary("2", 0.1, min_requests=50))
    assert trial.verdict(figures([], errors=49), [figures([1.0] * 500)]) is None
    assert trial.verdict(figures([], errors=50), [figures([1.0] * 500)]) is not None


def test_errors_are_judged_and_told_with_numbers() -> None:
    trial = Trial(Canary("2", 0.1, max_error_rate=0.05, min_requests=50))
    verdict = trial.verdict(figures([1.0] * 45, errors=15), [])
    assert verdict is not None
    assert verdict.startswith("15 of its 60 requests failed: 25.0% (95 % interval ")
    assert verdict.endswith("where at most 5.0% may.")


@pytest.mark.parametrize(("errors", "gone"), [(7, False), (8, True)])
def test_what_chance_explains_is_no_reason(errors: int, gone: bool) -> None:
    trial = Trial(Canary("2", 0.1))
    assert (trial.verdict(figures([1.0] * (50 - errors), errors), []) is not None) == gone


def test_latency_is_judged_by_medians_and_told_with_numbers() -> None:
    trial = Trial(Canary("2", 0.1, max_latency_ratio=1.5, min_requests=50))
    verdict = trial.verdict(figures([20.0] * 100), [figures([10.0] * 60), figures([10.0] * 60)])
    assert verdict is not None
    assert verdict == (
        "Its median latency over 100 requests is 19.9 ms and that of the arms 10.1 ms over 120: a ratio of 1.97, where "
        "at most 1.5 is allowed."
    )


def test_a_few_slow_ones_do_not_count() -> None:
    trial = Trial(Canary("2", 0.1, min_requests=50))
    assert trial.verdict(figures([10.0] * 90 + [5000.0] * 10), [figures([10.0] * 100)]) is None


def test_latency_is_not_judged_while_the_arms_have_too_few() -> None:
    trial = Trial(Canary("2", 0.1, min_requests=50))
    assert trial.verdict(figures([100.0] * 60), [figures([1.0] * 49)]) is None


def test_good_ones_stay_and_bad_ones_go() -> None:
    """Looked at again and again: a version within its limits goes almost never, one well beyond them soon."""
    canary = Canary("2", 0.1, max_error_rate=0.05, max_latency_ratio=1.5)
    within = [run(canary, 0.03, 1.2, 1500, seed) for seed in range(40)]
    failing = [run(canary, 0.20, 1.0, 1500, seed) for seed in range(40)]
    slow = [run(canary, 0.0, 2.5, 1500, seed) for seed in range(40)]
    assert sum(taken is not None for taken in within) <= 1
    assert all(taken is not None and taken <= 400 for taken in failing)
    assert all(taken is not None and taken <= 400 for taken in slow)


def test_one_that_takes_other_inputs_than_the_arms_goes() -> None:
    """All it does is to refuse: no error and no latency is its own."""
    trial = Trial(Canary("2", 0.1, min_requests=50))
    mine, arm = figures([]), figures([1.0] * 100)
    for _ in range(60):
        mine.failed("invalid_request")
    assert trial.verdict(mine, [arm]) == (
        "It refused 60 of 60 requests as invalid (100.0%), and the arms 0 of 100 (0.0%)."
    )
    for _ in range(400):
        arm.failed("invalid_request")
    assert Trial(Canary("2", 0.1)).verdict(figures_refusing(50, 150), [arm]) is None, "the askers are to blame"


def figures_refusing(answered: int, refused: int) -> ArmFigures:
    made = figures([1.0] * answered)
    for _ in range(refused):
        made.failed("invalid_request")
    return made


def test_a_canary_may_never_fail_where_that_is_asked() -> None:
    assert Trial(Canary("2", 0.1, max_error_rate=0.0)).verdict(figures([1.0] * 100, errors=1), []) is not None
    assert Trial(Canary("2", 0.1, max_error_rate=1.0)).verdict(figures([], errors=100), []) is None


def test_its_users_go_back_to_the_arms_that_they_had(caplog: pytest.LogCaptureFixture) -> None:
    arms = [Arm("1", 0.7), Arm("2", 0.3)]
    before = Router("m", Route(arms), lambda version: True)
    router = Router("m", Route(arms, Canary("3", 0.2, min_requests=20)), lambda version: True)
    told = []
    router.on_rolled_back = lambda: told.append(router.rolled_back)
    had = {user: before.choose(user) for user in USERS}
    now = {user: router.choose(user) for user in USERS}
    moved = [user for user in USERS if had[user] != now[user]]
    assert {now[user] for user in moved} == {"3"}
    assert len(moved) == pytest.approx(0.2 * len(USERS), rel=0.2)
    assert {had[user] for user in moved} == {"1", "2"}

    with caplog.at_level(logging.WARNING):
        for _ in range(30):
            router.failed("3", "internal")
    assert {user: router.choose(user) for user in USERS} == had
    assert len(caplog.records) == len(told) == 1
    assert router.rolled_back is not None
    assert router.rolled_back.startswith("Version 3 was taken out. 20 of its 20 requests failed: 100.0%")
    status = router.status()
    assert status.rolled_back == router.rolled_back
    assert [(arm.version, arm.role, arm.weight) for arm in status.arms] == [
        ("1", "arm", 0.7),
        ("2", "arm", 0.3),
        ("3", "canary", 0.0),
    ]
    assert router.versions == {"1", "2"}
