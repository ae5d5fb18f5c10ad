"""Who is answered by which version: in proportion, always the same, and moved as little as can be."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine.intervals import wilson
from jupyter_streaminfer.engine.routing import Router
from jupyter_streaminfer.protocol import Arm, Canary, Route, Shadow

USERS = [f"user {number}" for number in range(10_000)]
FIRST_SIXTY = "313133121121231111223112112111312213211221211222113121111121"
"""What the first users get of 0.5, 0.3 and 0.2, on any machine."""


def router(canary: Canary | None = None, shadow: Shadow | None = None, **weights: float) -> Router:
    """``v1=0.9`` gives version 1 that weight."""
    arms = [Arm(version.removeprefix("v"), weight) for version, weight in weights.items()]
    return Router("m", Route(arms, canary, shadow), lambda version: True)


def chosen(of: Router, users: list[str] = USERS) -> dict[str, str | None]:
    return {user: of.choose(user) for user in users}


def test_a_split_of_90_to_10_over_10_000_users_is_within_its_interval() -> None:
    found = chosen(router(v1=0.9, v2=0.1))
    for version, weight in (("1", 0.9), ("2", 0.1)):
        low, high = wilson(sum(each == version for each in found.values()), len(USERS))
        assert low <= weight <= high


@given(st.lists(st.integers(0, 20), min_size=1, max_size=16).filter(any))
def test_every_version_gets_its_part(parts: list[int]) -> None:
    users = USERS[:2000]
    arms = [Arm(str(index), part / sum(parts)) for index, part in enumerate(parts)]
    found = list(chosen(Router("m", Route(arms), lambda version: True), users).values())
    for arm in arms:
        low, high = wilson(found.count(arm.version), len(users), z=5)
        assert low <= arm.weight <= high
        assert arm.weight or arm.version not in found


def test_the_choice_is_the_same_in_another_process() -> None:
    """Whatever its hash seed; and the same as it ever was."""
    code = (
        "from jupyter_streaminfer.engine.routing import Router\n"
        "from jupyter_streaminfer.protocol import Arm, Route\n"
        "router = Router('m', Route([Arm('1', 0.5), Arm('2', 0.3), Arm('3', 0.2)]), lambda version: True)\n"
        "print(''.join(router.choose(f'user {number}') for number in range(60)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    there = run.stdout.strip()
    here = "".join(str(router(v1=0.5, v2=0.3, v3=0.2).choose(user)) for user in USERS[:60])
    assert there == here == FIRST_SIXTY


def test_who_is_in_one_models_tenth_is_not_in_anothers() -> None:
    other = Router("n", Route([Arm("1", 0.9), Arm("2", 0.1)]), lambda version: True)
    mine = chosen(router(v1=0.9, v2=0.1))
    both = sum(mine[user] == "2" == other.choose(user) for user in USERS)
    low, high = wilson(both, len(USERS), z=4)
    assert low <= 0.01 <= high


@pytest.mark.parametrize(
    ("before", "after", "moving"),
    [
        ({"v1": 0.9, "v2": 0.1}, {"v1": 0.8, "v2": 0.2}, 0.1),
        ({"v1": 0.5, "v2": 0.3, "v3": 0.2}, {"v1": 0.4, "v2": 0.4, "v3": 0.2}, 0.1),
        ({"v1": 0.6, "v2": 0.4}, {"v1": 0.3, "v2": 0.2, "v3": 0.5}, 0.5),
        ({"v1": 0.3, "v2": 0.2, "v3": 0.5}, {"v1": 0.6, "v2": 0.4}, 0.5),
    ],
)
def test_few_move_when_weights_change(before: dict, after: dict, moving: float) -> None:
    was, now = chosen(router(**before)), chosen(router(**after))
    moved = sum(was[user] != now[user] for user in USERS) / len(USERS)
    assert moving * 0.9 <= moved <= moving * 1.35


def test_a_canary_keeps_its_users_when_it_becomes_an_arm() -> None:
    trial = chosen(router(Canary("3", 0.2), v1=0.75, v2=0.25))
    assert chosen(router(v1=0.6, v2=0.2, v3=0.2)) == trial


class TestVersionsThatAreNotReady:
    def route(self, ready: set[str], woken: list[str] | None = None) -> Router:
        arms = [Arm("1", 0.5), Arm("2", 0.3), Arm("3", 0.2)]
        return Router(
            "m",
            Route(arms, Canary("4", 0.1)),
            ready.__contains__,
            lambda version: None if woken is None else woken.append(version),
        )

    def test_their_part_goes_to_the_others_and_nobody_else_moves(self) -> None:
        whole = chosen(self.route({"1", "2", "3", "4"}))
        without = chosen(self.route({"1", "3", "4"}))
        assert all(without[user] == whole[user] for user in USERS if whole[user] != "2")
        heirs = [without[user] for user in USERS if whole[user] == "2"]
        # In proportion to their weights: 0.45 to 0.18 to 0.1.
        assert heirs.count("1") / len(heirs) == pytest.approx(0.45 / 0.73, abs=0.05)
        assert heirs.count("3") / len(heirs) == pytest.approx(0.18 / 0.73, abs=0.05)

    def test_while_no_arm_is_there_is_no_route(self) -> None:
        assert set(chosen(self.route({"4"}), USERS[:300]).values()) == {None}
        assert set(chosen(self.route(set()), USERS[:300]).values()) == {None}
        assert self.route({"4"}).status().waiting == ["1", "2", "3"]

    def test_one_that_would_be_chosen_is_woken_and_no_other(self) -> None:
        whole = self.route({"1", "2", "3", "4"})
        user = next(user for user in USERS if whole.choose(user) == "2")
        woken: list[str] = []
        assert self.route({"1", "3", "4"}, woken).choose(user) in {"1", "3", "4"}
        assert woken == ["2"]


@given(st.text(max_size=200))
def test_any_text_can_be_a_key(key: str) -> None:
    of = router(v1=0.5, v2=0.5)
    assert of.choose(key) == of.choose(key) in {"1", "2"}


def test_a_key_of_half_a_character_is_one_too() -> None:
    assert router(v1=1.0).choose("\ud800") == "1"


def test_a_version_of_no_weight_is_never_chosen() -> None:
    assert set(chosen(router(v1=1.0, v2=0.0)).values()) == {"1"}


def test_what_stays_loaded_is_what_it_names() -> None:
    assert router(Canary("3", 0.2), Shadow("4"), v1=0.9, v2=0.1).versions == {"1", "2", "3", "4"}
