"""Whoever is slow or greedy costs the others nothing that they would not have paid anyway."""

from pathlib import Path

import faults_stalled
from faults_bench import serving
from faults_greedy import greedy, traits
from small_bench import passes


def test_consumers_that_stop_reading_are_waited_for_and_the_others_go_on(model: Path) -> None:
    """Their connections are never given up here.

    On a server that gives them up after a minute, a busy machine took longer than that to look: nobody waited any more.
    """
    with serving(model, *faults_stalled.TRAITS) as server:
        outcome = passes(faults_stalled.stalled(server, consumers=6, tokens=1500, neighbours=2, seconds=0.5, rounds=1))
    assert outcome.figures["streams_paused"] == 6


def test_a_greedy_client_is_limited_and_the_other_one_is_not(model: Path) -> None:
    with serving(model, *traits(10)) as server:
        passes(greedy(server, rate=10, tokens=8, seconds=1, rounds=1))
