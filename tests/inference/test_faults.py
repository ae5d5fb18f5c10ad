"""What is not finite, and steps that raise: whoever is to blame fails alone, and all others' streams stay exact."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.emitter import Emitter
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.native_llama import NativeLlama
from jupyter_streaminfer.protocol import Embed, EmbedJob, GenerateJob, JobFailed, Score, ScoreJob

from .conftest import Outcome, alone, collect, drain, generate_job, load_generator

BAD = 319
"""The token that is to blame."""


def job_of(index: int) -> GenerateJob:
    """Without the bad token in prompt or answer."""
    draw = random.Random(index)
    prompt = [draw.randrange(3, BAD) for _ in range(draw.randint(1, 40))]
    bias = {BAD: -100.0}
    return generate_job(f"s{index}", prompt, seed=index, max_tokens=20, ignore_eos=True, logit_bias=bias)


@pytest.fixture(scope="module")
def lonely(either_folder: Path) -> list[list[int]]:
    """What each of eight jobs generates while nothing is wrong."""
    runtime = load_generator(either_folder, max_batch_size=1)
    return [alone(runtime, job_of(index)).token_ids for index in range(8)]


def assert_exact(outcomes: dict[str, Outcome], lonely: list[list[int]], *indices: int) -> None:
    assert {job: outcomes[job].token_ids for job in (f"s{index}" for index in indices)} == {
        f"s{index}": lonely[index] for index in indices
    }


def poison(runtime: Generator) -> None:
    """Make the loaded embedding of the bad token not a number."""
    model: Any = runtime.model
    size = (model.vocabulary, model.hidden_size)
    tensors = model._kept if isinstance(model, NativeLlama) else [model.embedding]
    (embedding,) = [tensor for tensor in tensors if tensor.shape == size]
    embedding[BAD] = torch.nan


@pytest.fixture
def poisoned(either_folder: Path) -> Generator:
    """Its cache holds two sequences, so that every block soon gets an heir."""
    runtime = load_generator(either_folder, max_batch_size=3, step_tokens=16, blocks=7)
    poison(runtime)
    return runtime


def test_a_sequence_that_is_not_finite_fails_alone(poisoned: Generator, lonely: list[list[int]]) -> None:
    """Not its neighbours, and not the next ones in its blocks."""
    jobs = [job_of(index) for index in range(8)]
    for job in [*jobs[:2], generate_job("bad", [5, 6, BAD, 7] * 8, max_tokens=10), *jobs[2:]]:
        poisoned.submit(job)
    outcomes = drain(poisoned)
    poisoned.check_idle()
    error = outcomes["bad"].error
    assert error is not None
    assert (error.code, outcomes["bad"].token_ids) == ("internal", [])
    assert "not finite" in error.message
    assert_exact(outcomes, lonely, *range(8))


def test_what_it_told_before_stays_told(poisoned: Generator) -> None:
    """It chooses the bad token itself; the tokens before are flushed from their chunk."""
    for chunk_tokens in (1, 64):
        outcome = alone(
            poisoned,
            generate_job("bad", [5, 6], max_tokens=30, chunk_tokens=chunk_tokens, min_tokens=6, logit_bias={BAD: 5.0}),
        )
        assert outcome.error is not None
        assert outcome.token_ids[-1] == BAD
        assert BAD not in outcome.token_ids[:-1]


@pytest.mark.parametrize("clean", [0, 20, 33])
def test_nobody_is_served_from_its_blocks(poisoned: Generator, clean: int) -> None:
    """Nor from those before the break, which its neighbour may still use."""
    prompt = [*random.Random(clean).choices(range(3, BAD), k=clean), BAD, *[7] * 20]
    neighbour = generate_job("neighbour", [*prompt[:clean], 9], max_tokens=40, temperature=0, ignore_eos=True)
    expected = alone(poisoned, neighbour).token_ids if clean else []
    bad = [generate_job(f"bad {turn}", prompt, max_tokens=10) for turn in range(2)]
    outcomes: dict[str, Outcome] = {}
    if clean:
        poisoned.submit(neighbour)
        collect(poisoned.step(), outcomes)
    poisoned.submit(bad[0])
    drain(poisoned, outcomes)
    if clean:
        assert outcomes["neighbour"].token_ids == expected
    outcome = alone(poisoned, bad[1])
    assert outcome.cached_tokens == 0
    assert outcome.error is not None
    poisoned.check_idle()


def cancelled(runtime: Generator) -> None:
    """In the middle of its prompt, before anything could be seen to be wrong with it."""
    runtime.submit(generate_job("bad", [BAD] * 60, max_tokens=10))
    for _ in range(3):
        runtime.step()
    runtime.cancel("bad")


def preempted(runtime: Generator) -> None:
    """In the middle of its prompt, of which it gets a token a step, by one that came before it."""
    usual, runtime.scheduler.step_tokens = runtime.scheduler.step_tokens, 2
    runtime.submit(generate_job("first", [7] * 20, max_tokens=60, ignore_eos=True))
    runtime.submit(generate_job("bad", [BAD] * 60, max_tokens=10))
    while not runtime.scheduler.preemptions:
        assert not any(isinstance(event, JobFailed) for event in runtime.step())
    for job in ("bad", "first"):
        runtime.cancel(job)
    runtime.scheduler.step_tokens = usual


def embedded(runtime: Generator) -> None:
    outcome = alone(runtime, EmbedJob("bad", Embed("bad", "m", [[9] * 20, [BAD] * 60])))
    assert outcome.error is not None
    assert "not finite" in outcome.error.message


def scored(runtime: Generator) -> None:
    outcome = alone(runtime, ScoreJob("bad", Score("bad", "m", [9] * 20, [[5, 6], [BAD] * 60])))
    assert outcome.error is not None
    assert "not finite" in outcome.error.message


@pytest.mark.parametrize("end", [cancelled, preempted, embedded, scored])
def test_however_it_leaves_its_blocks_are_clean(
    poisoned: Generator, lonely: list[list[int]], end: Callable[[Generator], None]
) -> None:
    end(poisoned)
    for index in range(8):
        poisoned.submit(job_of(index))
    assert_exact(drain(poisoned), lonely, *range(8))
    poisoned.check_idle()


class MarkedError(RuntimeError):
    """What the tests' models raise."""


def break_hidden(runtime: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every step raise that has the bad token in it."""
    hidden = runtime.model.hidden

    def marked(batch: Batch) -> torch.Tensor:
        if BAD in batch.token_ids:
            raise MarkedError("the device is in a bad mood")
        return hidden(batch)

    monkeypatch.setattr(runtime.model, "hidden", marked)


def test_a_step_that_raises_fails_only_whom_it_must(
    either_folder: Path, lonely: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generations and readings; each of the broken ones has one end, though several of their texts were in the step."""
    runtime = load_generator(either_folder, max_batch_size=8, step_tokens=64)
    break_hidden(runtime, monkeypatch)
    broken = [
        generate_job("bad generation", [5, 6, BAD, 7], max_tokens=10),
        EmbedJob("bad texts", Embed("e", "m", [[5, 6], [BAD], [BAD, 7], [8] * 40])),
        ScoreJob("bad score", Score("s", "m", [5, 6], [[7], [BAD, 8], [BAD, 9]])),
        generate_job("bad later", [*[7] * 50, BAD, 8], max_tokens=10),
    ]
    good = [EmbedJob("good texts", Embed("e", "m", [[5, 6], [8] * 40])), ScoreJob("good", Score("s", "m", [5], [[7]]))]
    jobs = [*(job_of(index) for index in range(8)), *broken, *good]
    random.Random(2).shuffle(jobs)
    outcomes: dict[str, Outcome] = {}
    for job in jobs:
        runtime.submit(job)
        collect(runtime.step(), outcomes)
    drain(runtime, outcomes)
    runtime.check_idle()
    for job in broken:
        error = outcomes[job.job].error
        assert error is not None
        assert (error.code, error.message) == ("internal", "The step failed: MarkedError: the device is in a bad mood")
    assert all(outcomes[job.job].answer is not None for job in good)
    assert_exact(outcomes, lonely, *range(8))


def test_a_head_that_raises_fails_what_it_was_asked_for(
    either_folder: Path, lonely: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score asks for more rows than a step of four generations does."""
    runtime = load_generator(either_folder)
    logits = runtime.model.logits

    def small(hidden: torch.Tensor) -> torch.Tensor:
        if len(hidden) > 4:
            raise MarkedError("too many rows")
        return logits(hidden)

    monkeypatch.setattr(runtime.model, "logits", small)
    for index in range(4):
        runtime.submit(job_of(index))
    runtime.submit(ScoreJob("bad", Score("s", "m", [5] * 20, [[7] * 20, [8]])))
    runtime.submit(ScoreJob("good", Score("s", "m", [5] * 20, [[7] * 4, [8]])))
    outcomes = drain(runtime)
    runtime.check_idle()
    assert outcomes["bad"].error is not None
    assert "too many rows" in outcomes["bad"].error.message
    assert outcomes["good"].answer is not None
    assert_exact(outcomes, lonely, *range(4))


def test_a_text_that_cannot_be_told_fails_its_stream(
    either_folder: Path, lonely: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = load_generator(either_folder)
    add = Emitter.add

    def marked(self: Emitter, token: int) -> str:
        if token == BAD:
            raise MarkedError("no such piece")
        return add(self, token)

    monkeypatch.setattr(Emitter, "add", marked)
    runtime.submit(generate_job("bad", [5], max_tokens=10, logit_bias={BAD: 100.0}))
    for index in range(4):
        runtime.submit(job_of(index))
    outcomes = drain(runtime)
    runtime.check_idle()
    assert outcomes["bad"].error is not None
    assert "no such piece" in outcomes["bad"].error.message
    assert_exact(outcomes, lonely, *range(4))
