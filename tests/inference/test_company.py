"""A seeded stream is the same alone and in any company, whoever comes, goes, is cancelled or preempted beside it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_streaminfer.protocol import GenerateJob

from .conftest import Outcome, alone, collect, drain, generate_job, load_generator

CHOICES: dict[str, list[Any]] = {
    "temperature": [0.0, 0.5, 1.0, 1.0, 2.0],
    "top_k": [0, 0, 1, 20],
    "top_p": [1.0, 1.0, 0.8],
    "min_p": [0.0, 0.0, 0.05],
    "repetition_penalty": [1.0, 1.3, 0.9],
    "presence_penalty": [0.0, 0.7, -0.5],
    "frequency_penalty": [0.0, 0.4, -0.2],
    "logit_bias": [{}, {}, {40: 6.0, 41: -100.0, 77: 4.0}],
    "min_tokens": [0, 6, 15],
    "stop": [[], [], ["a", "on"]],
    "stop_token_ids": [[], [77, 78, 79]],
    "logprobs": [None, None, 0, 3],
    "chunk_tokens": [1, 1, 3],
    "priority": [-1, 0, 0, 1],
    "ignore_eos": [True, False],
}


def job_of(index: int) -> GenerateJob:
    """One of all that may be asked for."""
    draw = random.Random(index)
    fields = {name: draw.choice(choices) for name, choices in CHOICES.items()}
    prompt = [draw.randrange(3, 320) for _ in range(draw.choice([1, 2, 4, 6, 40]))]
    return generate_job(f"s{index}", prompt, seed=index, max_tokens=draw.randint(15, 50), **fields)


def same(found: Outcome, expected: Outcome, tolerance: float) -> bool:
    """Whether all is the same, but for log-probabilities that are off by so much."""
    return (
        (found.text, found.token_ids, found.reason) == (expected.text, expected.token_ids, expected.reason)
        and [one.logprob for one in found.logprobs]
        == pytest.approx([one.logprob for one in expected.logprobs], abs=tolerance, rel=0)
        and [[other.token_id for other in one.top] for one in found.logprobs]
        == [[other.token_id for other in one.top] for one in expected.logprobs]
    )


def test_every_parameter_alone_and_in_a_full_batch(either_folder: Path) -> None:
    """Of 32, with arrivals, departures, and too few blocks for all.

    The kernels give the same to the last bit; torch computes a row a little differently with others beside it.
    """
    count = 80
    lonely_runtime = load_generator(either_folder, max_batch_size=1)
    lonely = [alone(lonely_runtime, job_of(index)) for index in range(count)]
    assert {outcome.reason for outcome in lonely} == {"stop", "length"}

    runtime = load_generator(either_folder, blocks=60, max_batch_size=32, step_tokens=48)
    runtime.pace.minimum = 48  # else it would depend on time how soon the batch is full
    draw = random.Random(0)
    outcomes: dict[str, Outcome] = {}
    coming = [job_of(index) for index in range(count)]
    departing: list[str] = []
    fullest = steps = 0
    while coming or runtime.due_in() is not None:
        for _ in range(min(len(coming), draw.choice([0, 2, 6]))):
            runtime.submit(coming.pop())
        if coming:
            departing.append(f"doomed {steps}")
            runtime.submit(generate_job(departing[-1], [7] * draw.randint(1, 20), ignore_eos=True))
        if departing and (len(departing) > 2 or not coming):
            runtime.cancel(departing.pop(draw.randrange(len(departing))))
        collect([event for event in runtime.step() if not event.job.startswith("doomed")], outcomes)
        steps += 1
        fullest = max(fullest, runtime.stats().running)
    runtime.check_idle()
    assert fullest == 32
    assert runtime.stats().preemptions > 0
    tolerance = 0.0 if runtime.info.runner.startswith("native") else 1e-4
    assert [index for index in range(count) if not same(outcomes[f"s{index}"], lonely[index], tolerance)] == []


SAMPLED = [
    {"temperature": 1.0},
    {"temperature": 0.7, "top_k": 20},
    {"temperature": 1.3, "top_p": 0.8},
    {"temperature": 1.0, "top_k": 50, "top_p": 0.9},
    {"temperature": 0.0},
]


def sampled_job(index: int) -> GenerateJob:
    prompt = [3 + (index * 37 + i * 11) % 300 for i in range(1 + index * 9 % 50)]
    fields = SAMPLED[index % len(SAMPLED)]
    return generate_job(f"s{index}", prompt, seed=index, max_tokens=20, ignore_eos=True, **fields)


@pytest.fixture(scope="module")
def lonely(llama_folder: Path) -> list[list[int]]:
    """What each of ten seeded jobs generates with nobody else there."""
    runtime = load_generator(llama_folder, max_batch_size=1, step_tokens=4096)
    return [alone(runtime, sampled_job(index)).token_ids for index in range(10)]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(10)),
    batch=st.integers(1, 10),
    blocks=st.integers(8, 40),
    step_tokens=st.integers(1, 80),
    gaps=st.lists(st.integers(0, 3), min_size=10, max_size=10),
)
def test_any_order_any_batch_any_cache(
    llama_folder: Path,
    lonely: list[list[int]],
    order: list[int],
    batch: int,
    blocks: int,
    step_tokens: int,
    gaps: list[int],
) -> None:
    runtime = load_generator(llama_folder, max_batch_size=batch, step_tokens=step_tokens, blocks=blocks)
    outcomes: dict[str, Outcome] = {}
    for index, gap in zip(order, gaps, strict=True):
        runtime.submit(sampled_job(index))
        for _ in range(gap):
            collect(runtime.step(), outcomes)
    for job, outcome in drain(runtime, outcomes).items():
        assert outcome.token_ids == lonely[int(job[1:])], job
    runtime.check_idle()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cancelling_anyone_at_any_step_changes_nobody_else(
    llama_folder: Path, lonely: list[list[int]], data: st.DataObject
) -> None:
    runtime = load_generator(llama_folder, max_batch_size=data.draw(st.integers(1, 5)), step_tokens=23)
    for index in range(10):
        runtime.submit(sampled_job(index))
    outcomes: dict[str, Outcome] = {}
    cancelled: set[str] = set()
    while runtime.due_in() is not None:
        for index in data.draw(st.lists(st.integers(0, 9), max_size=1)):
            runtime.cancel(f"s{index}")
            if outcomes.get(f"s{index}", Outcome()).ends == 0:
                cancelled.add(f"s{index}")
        events = runtime.step()
        assert not cancelled & {event.job for event in events}
        collect(events, outcomes)
    runtime.check_idle()
    for index in range(10):
        if f"s{index}" not in cancelled:
            assert outcomes[f"s{index}"].token_ids == lonely[index]
