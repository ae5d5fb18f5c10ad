"""Embeddings and scores: against transformers, in the company of generations, in chunks, preempted and cancelled."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.reading import LOGIT_ROWS
from jupyter_streaminfer.protocol import Embed, Embedded, EmbedJob, Likelihood, Score, ScoredTexts, ScoreJob, Text

from .conftest import (
    Outcome,
    alone,
    build_folder,
    build_tokenizer,
    collect,
    drain,
    generate_job,
    load_generator,
    rejected,
)
from .reference import Reference

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def tokens(count: int, seed: int = 0) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(3, 320) for _ in range(count)]


TEXTS = [tokens(count, count) for count in (1, 2, 15, 16, 17, 40, 128)]


def embed_job(job: str, inputs: list[Text], pooling: str = "mean", normalize: bool = False) -> EmbedJob:
    return EmbedJob(job, Embed(job, "m", inputs, pooling, normalize))


def score_job(job: str, prompt: Text, continuations: list[Text]) -> ScoreJob:
    return ScoreJob(job, Score(job, "m", prompt, continuations))


def vectors(outcome: Outcome) -> torch.Tensor:
    assert isinstance(outcome.answer, Embedded), outcome
    return torch.tensor(outcome.answer.vectors)


def scores(outcome: Outcome) -> list[Likelihood]:
    assert isinstance(outcome.answer, ScoredTexts), outcome
    return outcome.answer.scores


def expected_vectors(folder: Path, pooling: str, normalize: bool) -> torch.Tensor:
    states = Reference(folder).hidden(TEXTS)
    found = torch.stack([rows.mean(0) if pooling == "mean" else rows[-1] for rows in states])
    return found / found.norm(dim=1, keepdim=True) if normalize else found


def busy(folder: Path) -> Generator:
    """A runtime that generates beside what it reads, in small steps; the cache does not hold all of it."""
    runtime = load_generator(folder, max_batch_size=6, step_tokens=16, blocks=14)
    for index in range(8):
        runtime.submit(generate_job(f"g{index}", tokens(10 + index, index), max_tokens=40, ignore_eos=True))
    return runtime


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_embeddings_equal_transformers(any_folder: Path, pooling: str, normalize: bool) -> None:
    runtime = busy(any_folder)
    job = embed_job("e", TEXTS, pooling, normalize)
    runtime.submit(job)
    outcomes = drain(runtime)
    runtime.check_idle()
    assert runtime.stats().preemptions > 0
    found = vectors(outcomes["e"])
    torch.testing.assert_close(found, expected_vectors(any_folder, pooling, normalize), **CLOSE)
    quiet = load_generator(any_folder)
    each = [alone(quiet, embed_job("e", [text], pooling, normalize)) for text in TEXTS]
    torch.testing.assert_close(torch.cat([vectors(one) for one in each]), found, atol=1e-5, rtol=1e-5)
    assert isinstance(outcomes["e"].answer, Embedded)
    assert outcomes["e"].answer.prompt_tokens == sum(map(len, TEXTS))


def expected_scores(folder: Path, prompt: list[int], continuations: list[list[int]]) -> list[tuple[list[float], bool]]:
    found = []
    for rows, targets in zip(
        Reference(folder).logits([prompt + one for one in continuations]), continuations, strict=True
    ):
        scored = rows[len(prompt) - 1 : -1].log_softmax(-1)
        ids = torch.tensor(targets)
        found.append((scored.gather(1, ids[:, None])[:, 0].tolist(), bool((scored.argmax(-1) == ids).all())))
    return found


@pytest.mark.parametrize("length", [1, 17, 48])
def test_scores_equal_transformers(any_folder: Path, length: int) -> None:
    prompt = tokens(length, 9)
    likely = alone(
        load_generator(any_folder), generate_job("a", prompt, max_tokens=20, temperature=0, ignore_eos=True)
    ).token_ids
    continuations = [likely, [*likely[:-1], (likely[-1] + 1) % 320], likely[:1], tokens(1), tokens(LOGIT_ROWS + 10)]
    runtime = busy(any_folder)
    runtime.submit(score_job("s", prompt, continuations))
    outcome = drain(runtime)["s"]
    runtime.check_idle()
    expected = expected_scores(any_folder, prompt, continuations)
    for found, (logprobs, greedy) in zip(scores(outcome), expected, strict=True):
        torch.testing.assert_close(torch.tensor(found.token_logprobs), torch.tensor(logprobs), **CLOSE)
        assert found.logprob == pytest.approx(sum(logprobs), abs=1e-2)
        assert found.greedy == greedy
    assert [one.greedy for one in scores(outcome)][:3] == [True, False, True]
    assert isinstance(outcome.answer, ScoredTexts)
    assert outcome.answer.prompt_tokens == length + sum(map(len, continuations))


def test_a_prompt_of_many_continuations_is_computed_once(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder)
    prompt = tokens(80)
    outcome = alone(runtime, score_job("s", prompt, [[5, 6], [5, 7], [8]]))
    stats = runtime.stats()
    assert (stats.prefix_tokens, stats.prefix_hits) == (81 + 81 + 80, 2 * 64)
    again = alone(runtime, score_job("s", prompt, [[5, 6]]))
    assert scores(again) == scores(outcome)[:1]
    assert runtime.stats().prefix_hits == 3 * 64


def test_whole_contexts(llama_folder: Path) -> None:
    """The last token of a continuation is not computed, so it need not fit."""
    runtime = load_generator(llama_folder)
    assert len(scores(alone(runtime, score_job("s", tokens(100), [tokens(29)])))[0].token_logprobs) == 29
    assert vectors(alone(runtime, embed_job("e", [tokens(128)]))).shape == (1, 48)


def test_text_equals_its_tokens(tmp_path: Path) -> None:
    """A text has the tokens that the tokenizer puts around a prompt; a continuation goes on without."""
    folder = build_folder(tmp_path)
    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save_pretrained(folder)
    runtime = load_generator(folder)
    given = tokenizer.encode("The asyncio")
    assert given[0] == 1
    text, ids = (alone(runtime, embed_job("e", [one])) for one in ("The asyncio", given))
    assert text.answer == ids.answer
    following = tokenizer.encode(" module", add_special_tokens=False)
    text, ids = (alone(runtime, score_job("s", *one)) for one in (("The asyncio", [" module"]), (given, [following])))
    assert text.answer == ids.answer


def test_equal_texts_are_each_answered(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder, max_batch_size=3)
    found = vectors(alone(runtime, embed_job("e", [tokens(40)] * 7)))
    assert (found == found[0]).all()
    assert len({tuple(one.token_logprobs) for one in scores(alone(runtime, score_job("s", [5], [[6, 7]] * 7)))}) == 1


@pytest.mark.parametrize("steps", [1, 9, 25])
def test_cancelled_in_the_middle(either_folder: Path, steps: int) -> None:
    """After some texts are read, while others run or wait; the others' streams are what they are without."""
    expected = drain(busy(either_folder))
    runtime = busy(either_folder)
    for job in (embed_job("e", TEXTS), score_job("s", tokens(40), [tokens(30), [5], tokens(60)])):
        runtime.submit(job)
    outcomes: dict[str, Outcome] = {}
    for _ in range(steps):
        collect(runtime.step(), outcomes)
    for job in "es":
        runtime.cancel(job)
    known = {job: outcome.answer for job, outcome in outcomes.items()}
    drain(runtime, outcomes)
    runtime.check_idle()
    assert {job: outcomes[job].answer for job in known} == known
    for job, outcome in expected.items():
        assert outcomes[job].token_ids == outcome.token_ids


def test_more_texts_than_may_wait_leave_nothing_behind(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder, max_batch_size=2, max_queue=3)
    runtime.submit(generate_job("g", [5], max_tokens=3))
    error = rejected(runtime, embed_job("e", [[5]] * 5))
    assert (error.code, error.retryable) == ("overloaded", True)
    drain(runtime)
    runtime.check_idle()
    assert len(vectors(alone(runtime, embed_job("e", [[5]] * 5)))) == 5


def test_more_texts_than_ever_fit_are_refused_for_good(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder, max_batch_size=2, max_queue=3)
    for job, field in ((embed_job("e", [[5]] * 6), "inputs"), (score_job("s", [5], [[6]] * 6), "continuations")):
        error = rejected(runtime, job)
        assert (error.code, error.field, error.retryable) == ("too_large", field, False)
        assert "parts of 5 at most" in error.message
    runtime.check_idle()


def test_a_reading_is_known_once(llama_folder: Path) -> None:
    """And disturbed neither by a second one nor by who names one of its texts."""
    runtime = load_generator(llama_folder, max_batch_size=2)
    expected = alone(runtime, embed_job("e", TEXTS[:4])).answer
    runtime.submit(embed_job("e", TEXTS[:4]))
    for job in (embed_job("e", [[5]]), score_job("e", [5], [[6]]), generate_job("e", [5]), generate_job("e#1", [5])):
        error = rejected(runtime, job)
        assert (error.code, error.retryable) == ("invalid_request", False)
        assert "is under way already" in error.message
    for name in ("e", "e#1"):
        runtime.pause(name)
    runtime.cancel("e#1")
    assert drain(runtime)["e"].answer == expected
    runtime.check_idle()
