"""The generation runtime: admission, streams, cancellation, faults, and noise that the batch does not change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.protocol import Admitted, ChatMessage, Generate, GenerateJob, PredictJob, Started, Tokens

from .conftest import Outcome, build_folder, collect, drain, generate_job, load_generator, rejected

PROMPT = [5, 9, 14, 33, 60]


@pytest.fixture(scope="module")
def runtime(llama_folder: Path) -> Generator:
    return load_generator(llama_folder, max_batch_size=4, step_tokens=16, max_queue=8)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest) -> Any:
    yield
    if "runtime" in request.fixturenames:
        request.getfixturevalue("runtime").check_idle()


def alone(runtime: Generator, job: GenerateJob) -> Outcome:
    assert isinstance(runtime.submit(job), Admitted)
    return drain(runtime)[job.job]


def test_prompt_equals_token_ids(runtime: Generator, llama_folder: Path) -> None:
    text = "The asyncio café 🙂"
    ids = AutoTokenizer.from_pretrained(llama_folder)(text)["input_ids"]
    given = alone(runtime, GenerateJob("a", Generate("a", "m", prompt=text, max_tokens=12), 3))
    assert given.token_ids == alone(runtime, generate_job("b", ids, max_tokens=12, seed=3)).token_ids


def test_chat_equals_transformers(runtime: Generator, llama_folder: Path) -> None:
    turns = [ChatMessage("user", "café?"), ChatMessage("assistant", "yes"), ChatMessage("user", "🙂")]
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    ids = tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in turns], add_generation_prompt=True
    )["input_ids"]
    assert runtime.tokenizer.encode_chat(turns) == ids
    given = alone(runtime, GenerateJob("a", Generate("a", "m", messages=turns, max_tokens=12), 3))
    assert given.token_ids == alone(runtime, generate_job("b", ids, max_tokens=12, seed=3)).token_ids


def test_text_equals_the_decode_of_its_tokens(runtime: Generator, llama_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    for seed in range(5):
        outcome = alone(runtime, generate_job("a", PROMPT, max_tokens=60, seed=seed, ignore_eos=True))
        assert outcome.text == tokenizer.decode(outcome.token_ids, skip_special_tokens=True)


def test_ends_by_length_and_counts(runtime: Generator) -> None:
    outcome = alone(runtime, generate_job("a", PROMPT, max_tokens=7, temperature=0, ignore_eos=True))
    assert (len(outcome.token_ids), outcome.reason) == (7, "length")


def test_stops_at_eos_which_is_not_shown(tmp_path: Path, llama_folder: Path, runtime: Generator) -> None:
    longer = alone(runtime, generate_job("a", PROMPT, max_tokens=20, temperature=0, ignore_eos=True)).token_ids
    end = longer[5]
    shutil.copytree(llama_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, 319]}))
    ending = load_generator(tmp_path)
    outcome = alone(ending, generate_job("a", PROMPT, max_tokens=20, temperature=0))
    assert (outcome.token_ids, outcome.reason) == (longer[: longer.index(end)], "stop")
    ignoring = alone(ending, generate_job("b", PROMPT, max_tokens=20, temperature=0, ignore_eos=True))
    assert (ignoring.token_ids, ignoring.reason) == (longer, "length")


def test_max_tokens_defaults_to_what_is_left(runtime: Generator) -> None:
    assert len(alone(runtime, generate_job("a", [5] * 100, ignore_eos=True)).token_ids) == 28


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({}, "prompt", "exactly one"),
        ({"prompt": "a", "token_ids": [4]}, "prompt", "prompt and token_ids"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"token_ids": []}, "token_ids", "empty"),
        ({"messages": []}, "messages", "empty"),
        ({"token_ids": [5, 320]}, "token_ids", "320"),
        ({"token_ids": [5] * 128}, "token_ids", "128"),
        ({"token_ids": [5] * 100, "max_tokens": 29}, "max_tokens", "28 at most"),
        ({"prompt": "a" * 999_999}, "prompt", "999999 characters"),
        ({"messages": [ChatMessage("user", "a" * 999_999)]}, "messages", "999999 characters"),
        ({"messages": [ChatMessage("system", "be nice")]}, "messages", "no system turn"),
    ],
)
def test_refuses_with_field_and_limit(runtime: Generator, fields: dict[str, Any], field: str, said: str) -> None:
    error = rejected(runtime, GenerateJob("a", Generate("a", "m", **fields), 0))
    assert (error.code, error.field, error.retryable) == ("invalid_request", field, False)
    assert said in error.message


def test_refuses_predictions(runtime: Generator) -> None:
    assert rejected(runtime, PredictJob("a", [[1.0]])).code == "invalid_request"


def test_refuses_messages_without_a_template(tmp_path: Path) -> None:
    runtime = load_generator(build_folder(tmp_path, chat=False))
    assert not runtime.info.chat
    job = GenerateJob("a", Generate("a", "m", messages=[ChatMessage("user", "hi")]), 0)
    assert rejected(runtime, job).field == "messages"


def test_queue_is_bounded(runtime: Generator) -> None:
    jobs = [generate_job(str(index), PROMPT, max_tokens=3) for index in range(13)]
    assert all(isinstance(runtime.submit(job), Admitted) for job in jobs[:12])
    error = rejected(runtime, jobs[12])
    assert (error.code, error.retryable) == ("overloaded", True)
    assert set(drain(runtime)) == {str(index) for index in range(12)}
    assert isinstance(runtime.submit(jobs[12]), Admitted)
    drain(runtime)


def test_info(runtime: Generator, llama_folder: Path) -> None:
    info = runtime.info
    assert (info.task, info.context_length, info.max_batch_size, info.chat) == ("generate", 128, 4, True)
    assert info.cache_bytes == 4 * 128 * 2 * 2 * 2 * 12 * 4
    stored = load_file(llama_folder / "model.safetensors")
    assert info.parameters == sum(tensor.numel() for tensor in stored.values())


def test_warm_up_leaves_no_trace(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder, max_batch_size=3)
    runtime.warm_up()
    runtime.check_idle()
    assert runtime.due_in() is None


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


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(10)),
    batch=st.integers(1, 10),
    step_tokens=st.integers(1, 80),
    gaps=st.lists(st.integers(0, 3), min_size=10, max_size=10),
)
def test_seeded_streams_do_not_depend_on_the_batch(
    llama_folder: Path, lonely: list[list[int]], order: list[int], batch: int, step_tokens: int, gaps: list[int]
) -> None:
    runtime = load_generator(llama_folder, max_batch_size=batch, step_tokens=step_tokens)
    outcomes: dict[str, Outcome] = {}
    for index, gap in zip(order, gaps, strict=True):
        runtime.submit(sampled_job(index))
        for _ in range(gap):
            collect(runtime.step(), outcomes)
    for job, outcome in drain_into(runtime, outcomes).items():
        assert outcome.token_ids == lonely[int(job[1:])], job
    runtime.check_idle()


def drain_into(runtime: Generator, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    while runtime.due_in() is not None:
        collect(runtime.step(), outcomes)
    return outcomes


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_a_prompt_in_chunks_starts_once_and_decodes_go_on(runtime: Generator) -> None:
    runtime.submit(generate_job("short", PROMPT, max_tokens=30, ignore_eos=True))
    outcomes: dict[str, Outcome] = {}
    collect(runtime.step(), outcomes)
    runtime.submit(generate_job("long", [7] * 60, max_tokens=2, ignore_eos=True))
    events = runtime.step()
    assert [event.job for event in events if isinstance(event, Started)] == ["long"]
    assert any(isinstance(event, Tokens) and event.job == "short" for event in events)
    assert not any(isinstance(event, Tokens) and event.job == "long" for event in events)
    collect(events, outcomes)
    drain_into(runtime, outcomes)
    assert (len(outcomes["short"].token_ids), len(outcomes["long"].token_ids)) == (30, 2)


@pytest.fixture
def poisoned(tmp_path: Path, llama_folder: Path) -> Generator:
    """A model whose embedding of token 319 is not a number."""
    shutil.copytree(llama_folder, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.embed_tokens.weight"][319] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return load_generator(tmp_path, max_batch_size=3, step_tokens=16)


def test_a_sequence_that_is_not_finite_fails_alone(poisoned: Generator, lonely: list[list[int]]) -> None:
    """Not its neighbours, and not the next one in its slot.

    Masked positions are multiplied by zero, which a NaN survives: a slot is wiped when its sequence leaves.
    """
    for index in (1, 2):
        poisoned.submit(sampled_job(index))
    poisoned.submit(generate_job("bad", [5, 6, 319, 7] * 8, max_tokens=10))
    for index in (3, 4, 5, 6):
        poisoned.submit(sampled_job(index))
    outcomes = drain(poisoned)
    poisoned.check_idle()
    error = outcomes.pop("bad").error
    assert error is not None
    assert error.code == "internal"
    for job, outcome in outcomes.items():
        assert outcome.token_ids == lonely[int(job[1:])], job


def test_cancelling_a_sequence_that_is_not_finite_leaves_a_clean_slot(
    poisoned: Generator, lonely: list[list[int]]
) -> None:
    """Cancelled in the middle of its prompt, before anything could be seen to be wrong with it."""
    poisoned.submit(generate_job("bad", [319] * 60, max_tokens=10))
    poisoned.step()
    poisoned.cancel("bad")
    jobs = [sampled_job(index) for index in (0, 5)]
    for job in jobs:
        poisoned.submit(job)
    outcomes = drain(poisoned)
    assert {job: outcome.token_ids for job, outcome in outcomes.items()} == {"s0": lonely[0], "s5": lonely[5]}
