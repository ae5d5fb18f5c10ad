"""What a request may ask of its answer: where it ends, in what chunks it comes, with which log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.protocol import Started

from .conftest import Outcome, alone, generate_job, load_generator

PROMPT = [5, 9, 14, 33, 60]


@pytest.fixture(scope="module")
def shared(llama_folder: Path) -> Generator:
    return load_generator(llama_folder, max_batch_size=4)


@pytest.fixture
def runtime(shared: Generator) -> Iterator[Generator]:
    yield shared
    shared.check_idle()


def answer(runtime: Generator, **fields: Any) -> Outcome:
    """To the same prompt with the same seed."""
    return alone(runtime, generate_job("a", PROMPT, **({"max_tokens": 60, "seed": 3, "ignore_eos": True} | fields)))


def test_a_stop_text_ends_the_answer_and_is_not_shown(runtime: Generator) -> None:
    """Each of ten texts that begin inside one token and end inside another."""
    whole = answer(runtime)
    for start in range(5, 15):
        stop = whole.text[start : start + 9]
        before = whole.text.index(stop)
        outcome = answer(runtime, stop=["not in the answer", stop])
        assert (outcome.text, outcome.reason) == (whole.text[:before], "stop")
        count = len(outcome.token_ids)
        assert outcome.token_ids == whole.token_ids[:count]
        shown = runtime.tokenizer.backend.decode(outcome.token_ids)
        assert stop in shown
        assert stop not in runtime.tokenizer.backend.decode(outcome.token_ids[:-1])


def test_a_stop_text_that_never_comes_changes_nothing(runtime: Generator) -> None:
    whole = answer(runtime)
    outcome = answer(runtime, stop=[whole.text[-3:] + "x", "not in the answer"])
    assert (outcome.text, outcome.token_ids, outcome.reason) == (whole.text, whole.token_ids, "length")


def test_a_stop_token_ends_the_answer_and_is_not_shown(runtime: Generator) -> None:
    whole = answer(runtime)
    end = whole.token_ids[7]
    outcome = answer(runtime, stop_token_ids=[end, 300])
    first = next(index for index, token in enumerate(whole.token_ids) if token in (end, 300))
    assert (outcome.token_ids, outcome.reason) == (whole.token_ids[:first], "stop")


def test_no_end_is_chosen_before_min_tokens(runtime: Generator) -> None:
    """The end is the likeliest token at every place; it waits for its time, and then it comes."""
    fields = {"stop_token_ids": [77], "logit_bias": {77: 100.0}, "temperature": 0.0}
    assert answer(runtime, **fields).token_ids == []
    outcome = answer(runtime, min_tokens=8, **fields)
    assert (len(outcome.token_ids), outcome.reason) == (8, "stop")
    assert 77 not in outcome.token_ids
    assert outcome.token_ids == answer(runtime, max_tokens=8, temperature=0.0, logit_bias={77: -100.0}).token_ids


def test_the_models_own_end_waits_for_min_tokens_too(runtime: Generator) -> None:
    fields = {"logit_bias": {2: 100.0}, "ignore_eos": False, "max_tokens": 20}
    assert answer(runtime, **fields).token_ids == []
    assert len(answer(runtime, min_tokens=20, **fields).token_ids) == 20
    ignoring = answer(runtime, **(fields | {"ignore_eos": True}))
    assert (ignoring.token_ids, ignoring.reason) == ([2] * 20, "length")


def test_no_stop_text_is_looked_for_before_min_tokens(runtime: Generator) -> None:
    whole = answer(runtime)
    outcome = answer(runtime, stop=[whole.text[3:6]], min_tokens=40)
    assert len(outcome.token_ids) >= 40
    assert outcome.text.startswith(runtime.tokenizer.backend.decode(whole.token_ids[:38]))


def test_more_tokens_than_by_default_when_min_tokens_ask_for_them(runtime: Generator) -> None:
    assert len(answer(runtime, max_tokens=None, min_tokens=123).token_ids) == 123


def test_chunks_of_a_fixed_size(runtime: Generator) -> None:
    every = answer(runtime, max_tokens=10, logprobs=1)
    outcome = answer(runtime, max_tokens=10, logprobs=1, chunk_tokens=4)
    assert (every.chunks, outcome.chunks) == ([1] * 10, [4, 4, 2])
    assert (outcome.token_ids, outcome.text, outcome.logprobs) == (every.token_ids, every.text, every.logprobs)


def test_a_stop_flushes_the_chunk(runtime: Generator) -> None:
    whole = answer(runtime)
    outcome = answer(runtime, chunk_tokens=4096, stop=[whole.text[20:24]])
    assert len(outcome.chunks) == 1
    assert outcome.text == whole.text[: whole.text.index(whole.text[20:24])]


def test_logprobs_name_their_tokens(runtime: Generator) -> None:
    outcome = answer(runtime, temperature=0, logprobs=3)
    texts = [runtime.tokenizer.backend.decode([token], skip_special_tokens=False) for token in outcome.token_ids]
    assert [one.token_id for one in outcome.logprobs] == outcome.token_ids
    assert [one.text for one in outcome.logprobs] == texts
    for one in outcome.logprobs:
        assert len(one.top) == 3
        assert (one.top[0].token_id, one.top[0].logprob) == (one.token_id, one.logprob)
        assert one.top == sorted(one.top, key=lambda other: -other.logprob)
    assert answer(runtime).logprobs == []


def test_higher_priorities_get_a_place_first(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder, max_batch_size=1)
    for job, priority in {"low": -5, "first": 0, "second": 0, "high": 5}.items():
        runtime.submit(generate_job(job, PROMPT, max_tokens=2, ignore_eos=True, priority=priority))
    started = []
    while runtime.due_in() is not None:
        started += [event.job for event in runtime.step() if isinstance(event, Started)]
    assert started == ["high", "first", "second", "low"]
