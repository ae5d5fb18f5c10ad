"""Connections that are cut, that nobody is behind any more, and that come and go."""

from pathlib import Path

from faults_bench import Server, serving
from faults_cuts import cuts
from faults_endurance import endurance, engine_endurance
from faults_vanish import traits, vanish
from small_bench import passes


def test_texts_survive_connections_that_are_cut_all_the_time(server: Server) -> None:
    passes(cuts(server, streams=16, tokens=1000, cut_s=0.3))


def test_a_client_gone_without_a_word_gives_its_places_back(model: Path) -> None:
    with serving(model, *traits(0.25, 0.25)) as server:
        passes(vanish(server, heartbeat_s=0.25, grace_s=0.25, streams=16))


def test_nothing_is_left_of_requests_and_connections(server: Server) -> None:
    passes(endurance(server, requests=1500, connects=400))


def test_nothing_is_left_in_an_engine(model: Path) -> None:
    passes(engine_endurance(model, requests=500))
