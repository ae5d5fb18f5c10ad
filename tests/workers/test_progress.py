"""How far a load is: told while it goes on, and not more often than anyone can see."""

from pathlib import Path

from worker_log import Make

from jupyter_streaminfer.protocol import LoadProgress
from jupyter_streaminfer.workers.progress import PERIOD_S, Progress


def test_what_is_told() -> None:
    now = 0.0
    told: list[LoadProgress] = []
    progress = Progress(told.append, lambda: now)
    progress("starting")
    for done in range(101):
        now += PERIOD_S / 10
        progress("reading", done, 100)
    progress("warming up")
    assert told[0] == LoadProgress("starting")
    assert told[1] == LoadProgress("reading", 0, 100)
    assert told[-2:] == [LoadProgress("reading", 100, 100), LoadProgress("warming up")]
    assert 10 <= len(told) <= 14


async def test_every_placement_tells_it_on_the_loop(make_any: Make, tiny_llama: Path) -> None:
    told: list[LoadProgress] = []
    worker = make_any(tiny_llama)
    await worker.start(lambda events: None, lambda reason: None, told.append)
    stages = list(dict.fromkeys(each.stage for each in told))
    assert stages[0] == "starting"
    assert stages[-1] == "warming up"
