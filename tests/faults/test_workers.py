"""Worker processes that are killed."""

from pathlib import Path

from faults_bench import serving
from faults_kills import kills
from small_bench import passes


def test_streams_survive_their_worker(model: Path) -> None:
    with serving(model, placement="process") as server:
        outcome = passes(kills(server, streams=4, seconds=1.5, every_s=1.0, tokens=1500, prompts=4))
    assert outcome.figures["endings"] == {"completed": outcome.figures["streams_accepted"]}
