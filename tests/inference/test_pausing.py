"""Paused and resumed at any step, a stream is what it is without; its place and its cache are the others' meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.protocol import Finished, GenerateJob

from .conftest import Outcome, alone, collect, drain, generate_job, load_generator

PROMPT = [5, 9, 14, 33, 60]
JOBS = 6


def job_of(index: int) -> GenerateJob:
    """With all that is kept between its tokens."""
    prompt = [3 + (index * 37 + i * 11) % 300 for i in range(1 + index * 9)]
    return generate_job(
        f"{index}",
        prompt,
        seed=index,
        max_tokens=20,
        ignore_eos=True,
        stop=["never said"],
        presence_penalty=0.5 * (index % 2),
        chunk_tokens=1 + index % 3,
    )


@pytest.fixture(scope="module")
def lonely(llama_folder: Path) -> list[Outcome]:
    runtime = load_generator(llama_folder, max_batch_size=1)
    return [alone(runtime, job_of(index)) for index in range(JOBS)]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.integers(1, 4),
    blocks=st.integers(6, 20),
    asked=st.lists(
        st.tuples(st.sampled_from(["pause", "pause", "resume", "cancel", "step"]), st.integers(0, JOBS - 1)),
        max_size=40,
    ),
)
def test_any_time(
    llama_folder: Path, lonely: list[Outcome], places: int, blocks: int, asked: list[tuple[str, int]]
) -> None:
    """With few blocks, so that others are preempted too."""
    runtime = load_generator(llama_folder, max_batch_size=places, blocks=blocks, step_tokens=24)
    for index in range(JOBS):
        runtime.submit(job_of(index))
    outcomes: dict[str, Outcome] = {}
    paused: set[str] = set()
    gone: set[str] = set()
    for what, index in asked:
        name = f"{index}"
        ended = name in gone or outcomes.get(name, Outcome()).ends > 0
        if what == "step":
            events = runtime.step()
            assert not {event.job for event in events} & (paused | gone)
            collect(events, outcomes)
            continue
        getattr(runtime, what)(name)
        paused.discard(name)
        if what == "pause" and not ended:
            paused.add(name)
        elif what == "cancel" and not ended:
            gone.add(name)
    drain(runtime, outcomes)
    live = {name for name in map(str, range(JOBS)) if name not in gone}
    assert {name for name in live if outcomes.get(name, Outcome()).ends == 0} == paused
    for name in sorted(paused):
        runtime.resume(name)
    drain(runtime, outcomes)
    runtime.check_idle()
    for name in live:
        expected = lonely[int(name)]
        assert (outcomes[name].text, outcomes[name].token_ids) == (expected.text, expected.token_ids)
        assert (outcomes[name].chunks, outcomes[name].reason) == (expected.chunks, expected.reason)


def test_all_paused_there_is_nothing_to_do(llama_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The others' end is no leak."""
    runtime = load_generator(llama_folder, max_batch_size=2)
    for job in "abc":
        runtime.submit(generate_job(job, PROMPT, max_tokens=10, ignore_eos=True))
    outcomes: dict[str, Outcome] = {}
    collect(runtime.step(), outcomes)
    for job in "ac":
        runtime.pause(job)
    assert (runtime.stats().running, runtime.stats().waiting) == (1, 0)
    drain(runtime, outcomes)
    assert [job for job, outcome in outcomes.items() if outcome.ends] == ["b"]
    stats = runtime.stats()
    assert (runtime.due_in(), runtime.step(), stats.running, stats.waiting, stats.cache_used) == (None, [], 0, 0, 0)
    assert not caplog.records
    with pytest.raises(RuntimeError, match="'paused': 2"):
        runtime.check_idle()
    runtime.cancel("c")
    runtime.resume("a")
    assert runtime.due_in() == 0
    assert len(drain(runtime, outcomes)["a"].token_ids) == 10
    runtime.check_idle()


def test_its_place_goes_to_the_next_and_it_comes_back_before_those_who_wait(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder, max_batch_size=1)
    for job in "abc":
        runtime.submit(generate_job(job, PROMPT, max_tokens=10, ignore_eos=True))
    outcomes: dict[str, Outcome] = {}
    collect(runtime.step(), outcomes)
    ends: list[str] = []
    runtime.pause("a")
    collect(runtime.step(), outcomes)
    assert (len(outcomes["a"].token_ids), len(outcomes["b"].token_ids)) == (1, 1)
    runtime.resume("a")
    while runtime.due_in() is not None:
        collect(events := runtime.step(), outcomes)
        ends += [event.job for event in events if isinstance(event, Finished)]
    assert ends == ["b", "a", "c"]


def test_resuming_computes_little_again(llama_folder: Path) -> None:
    runtime: Generator = load_generator(llama_folder)
    runtime.submit(generate_job("a", list(range(3, 73)), max_tokens=30, ignore_eos=True))
    for _ in range(10):
        runtime.step()
    runtime.pause("a")
    runtime.resume("a")
    (chunk,) = runtime.scheduler.schedule()
    assert chunk.count == 80 - 64, "all but the block that was not full"
    runtime.cancel("a")
    runtime.check_idle()
