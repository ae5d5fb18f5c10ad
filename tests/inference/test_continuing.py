"""A generation that was cut and goes on elsewhere is the one that was not: text, tokens, log-probabilities, reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.protocol import Admitted, Finished, GenerateJob, JobEvent, Started, Tokens

from .conftest import Outcome, alone, collect, drain, generate_job, load_generator, rejected

PROMPT = [5, 9, 14, 33, 60]

FIELDS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.7, 1.0]),
        "repetition_penalty": st.sampled_from([1.0, 1.3]),
        "presence_penalty": st.sampled_from([0.0, 0.8]),
        "frequency_penalty": st.sampled_from([0.0, -0.3, 0.5]),
        "logit_bias": st.sampled_from([{}, {40: 5.0}]),
        "min_tokens": st.sampled_from([0, 0, 7, 12]),
        "stop_token_ids": st.sampled_from([[], [77, 78, 79, 80, 81, 82]]),
        "logprobs": st.sampled_from([None, 0, 2]),
        "chunk_tokens": st.sampled_from([1, 1, 2, 5]),
        "max_tokens": st.integers(1, 40),
        "ignore_eos": st.booleans(),
        "seed": st.integers(0, 2**63 - 1),
    }
).map(lambda fields: fields | {"min_tokens": min(fields["min_tokens"], fields["max_tokens"])})


def told_by(runtime: Generator, job: GenerateJob) -> list[JobEvent]:
    """What a job without company tells, from its start on."""
    assert isinstance(runtime.submit(job), Admitted)
    events: list[JobEvent] = []
    while runtime.due_in() is not None:
        events += runtime.step()
    runtime.check_idle()
    return events


def outcome_of(events: list[JobEvent]) -> Outcome:
    outcomes: dict[str, Outcome] = {}
    collect(events, outcomes)
    return outcomes["a"]


def after(told: list[JobEvent], job: GenerateJob) -> GenerateJob:
    """The job that goes on after what was told."""
    return structs.replace(
        job, delivered=[token for event in told if isinstance(event, Tokens) for token in event.token_ids]
    )


def joined(first: Outcome, second: Outcome) -> tuple[Any, ...]:
    """What a reader has who was told the one and then the other."""
    return (
        first.text + second.text,
        first.token_ids + second.token_ids,
        first.logprobs + second.logprobs,
        second.reason,
        second.ends,
    )


@pytest.fixture(scope="module")
def uncut(llama_folder: Path) -> Generator:
    return load_generator(llama_folder)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=FIELDS, prompt=st.lists(st.integers(3, 319), min_size=1, max_size=40), data=st.data())
def test_cut_anywhere(
    llama_folder: Path, uncut: Generator, fields: dict[str, Any], prompt: list[int], data: st.DataObject
) -> None:
    """And after all of its tokens, when only its end is missing; stop texts are parts of what it would say."""
    text = alone(uncut, generate_job("a", prompt, **fields)).text
    stops = []
    for _ in range(data.draw(st.integers(0, 2)) if text else 0):
        start = data.draw(st.integers(0, len(text) - 1))
        stops.append(text[start : start + data.draw(st.integers(1, 6))] + data.draw(st.sampled_from(["", "", "x"])))
    job = generate_job("a", prompt, stop=stops, **fields)
    events = told_by(uncut, job)
    expected = joined(Outcome(), outcome_of(events))
    for cut in {data.draw(st.integers(1, len(events) - 1)), len(events) - 1}:
        going_on = after(events[:cut], job)
        rest = told_by(load_generator(llama_folder), going_on)
        assert isinstance(rest[0], Started)
        assert joined(outcome_of(events[:cut]), outcome_of(rest)) == expected


@pytest.mark.parametrize("fields", [{"temperature": 0}, {"chunk_tokens": 3, "presence_penalty": 0.5}])
def test_cut_everywhere_whoever_computes(any_folder: Path, fields: dict[str, Any]) -> None:
    runtime = load_generator(any_folder)
    job = generate_job("a", PROMPT, seed=4, max_tokens=20, ignore_eos=True, **fields)
    events = told_by(runtime, job)
    expected = joined(Outcome(), outcome_of(events))
    for cut in range(1, len(events)):
        assert joined(outcome_of(events[:cut]), outcome_of(told_by(runtime, after(events[:cut], job)))) == expected


def test_admission_tells_the_prompt_and_the_cache_counts_no_more(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder)
    prompt = list(range(3, 23))
    job = generate_job("a", prompt, max_tokens=60, ignore_eos=True)
    events = told_by(runtime, job)
    going_on = after(events[:50], job)
    assert runtime.submit(going_on) == Admitted("a", 20)
    outcome = drain(runtime)["a"]
    assert (outcome.cached_tokens, len(outcome.token_ids)) == (20, 60 - len(going_on.delivered))


@pytest.mark.parametrize("chunk_tokens", [1, 4])
def test_what_was_whole_ends_with_the_next_step_and_takes_no_place(llama_folder: Path, chunk_tokens: int) -> None:
    runtime = load_generator(llama_folder, max_batch_size=1, max_queue=0)
    job = generate_job("a", PROMPT, seed=3, max_tokens=30, ignore_eos=True, chunk_tokens=chunk_tokens)
    whole = alone(runtime, job)
    stopping = structs.replace(job, request=structs.replace(job.request, stop=[whole.text[4:9]]))
    stopped = alone(runtime, stopping)
    assert (whole.reason, stopped.reason) == ("length", "stop")
    runtime.submit(generate_job("other", PROMPT, max_tokens=50, ignore_eos=True))
    outcomes: dict[str, Outcome] = {}
    for again, outcome in ((job, whole), (stopping, stopped)):
        assert runtime.submit(structs.replace(again, delivered=outcome.token_ids)) == Admitted("a", len(PROMPT))
        assert "already" in rejected(runtime, again).message
        for ask in (runtime.pause, runtime.resume):
            ask("a")
        events = [event for event in runtime.step() if event.job == "a"]
        assert [type(event) for event in events] == [Started, Finished]
        assert isinstance(events[-1], Finished)
        assert events[-1].finish_reason == outcome.reason
        assert outcome.text.endswith(events[-1].text)
    runtime.cancel("other")
    runtime.check_idle()
    runtime.submit(structs.replace(stopping, delivered=stopped.token_ids))
    assert runtime.due_in() == 0
    collect(runtime.step(), outcomes)
    assert (outcomes["a"].reason, runtime.due_in()) == ("stop", None)
    runtime.check_idle()


def test_what_was_whole_may_be_cancelled(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder)
    runtime.submit(structs.replace(generate_job("a", PROMPT, max_tokens=2), delivered=[5, 6]))
    runtime.cancel("a")
    assert (runtime.due_in(), runtime.step()) == (None, [])
    runtime.check_idle()


def test_tokens_after_a_stop_text_are_refused(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder)
    job = generate_job("a", PROMPT, seed=3, max_tokens=30, ignore_eos=True)
    whole = alone(runtime, job)
    stopping = structs.replace(job, request=structs.replace(job.request, stop=[whole.text[4:9]]))
    error = rejected(runtime, structs.replace(stopping, delivered=whole.token_ids))
    assert (error.code, error.field) == ("invalid_request", "delivered")
    assert "a stop text ends the answer after" in error.message
    runtime.check_idle()


def test_a_full_queue_refuses_it_and_keeps_nothing(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder, max_batch_size=1, max_queue=0)
    runtime.submit(generate_job("other", PROMPT, max_tokens=50, ignore_eos=True))
    job = structs.replace(generate_job("a", PROMPT, max_tokens=5, presence_penalty=1.0), delivered=[5, 6])
    assert rejected(runtime, job).code == "overloaded"
    runtime.cancel("other")
    runtime.check_idle()
    assert len(alone(runtime, job).token_ids) == 3
