"""The generation runtime: from a prompt to the text of its answer, admission, and what it says of itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from predicting import predict_job
from safetensors.torch import load_file
from transformers import AutoTokenizer

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.native_library import library
from jupyter_streaminfer.protocol import (
    Admitted,
    ChatMessage,
    Generate,
    GenerateJob,
    Started,
    StreaminferError,
    Tokens,
)

from .conftest import Outcome, alone, build_folder, collect, drain, generate_job, load_generator, rejected

PROMPT = [5, 9, 14, 33, 60]


@pytest.fixture(scope="module")
def shared(llama_folder: Path) -> Generator:
    return load_generator(llama_folder, max_batch_size=4, step_tokens=16, max_queue=8)


@pytest.fixture
def runtime(shared: Generator) -> Iterator[Generator]:
    yield shared
    shared.check_idle()


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


def test_refuses_predictions(runtime: Generator) -> None:
    assert rejected(runtime, predict_job("a", [[1.0]])).code == "invalid_request"


def test_queue_is_bounded(runtime: Generator) -> None:
    jobs = [generate_job(str(index), PROMPT, max_tokens=3) for index in range(13)]
    assert all(isinstance(runtime.submit(job), Admitted) for job in jobs[:12])
    error = rejected(runtime, jobs[12])
    assert (error.code, error.retryable) == ("overloaded", True)
    assert set(drain(runtime)) == {str(index) for index in range(12)}
    assert isinstance(runtime.submit(jobs[12]), Admitted)
    drain(runtime)


def test_a_job_is_known_once(runtime: Generator) -> None:
    job = generate_job("a", PROMPT, max_tokens=6, temperature=0, stop=["a"], presence_penalty=1.0, ignore_eos=True)
    expected = alone(runtime, job)
    runtime.submit(job)
    runtime.step()
    for other in (job, generate_job("a", [7]), GenerateJob("a", job.request, 0, [5] * 6)):
        error = rejected(runtime, other)
        assert (error.code, error.retryable) == ("invalid_request", False)
        assert "'a' is under way already" in error.message
    runtime.cancel("a")
    assert alone(runtime, job) == expected


def test_many_of_one_client_do_not_delay_one_of_another(runtime: Generator) -> None:
    fields = {"max_tokens": 5, "ignore_eos": True}
    outcomes: dict[str, Outcome] = {}
    for index in range(11):
        runtime.submit(structs.replace(generate_job(f"a{index}", PROMPT, **fields), client="a"))
    while runtime.stats().running < 4:
        collect(runtime.step(), outcomes)
    runtime.submit(structs.replace(generate_job("b", PROMPT, **fields), client="b"))
    drain(runtime, outcomes)
    ends = [job for job, outcome in outcomes.items() if outcome.starts]
    assert (len(ends), ends[4]) == (12, "b")


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
    drain(runtime, outcomes)
    assert (len(outcomes["short"].token_ids), len(outcomes["long"].token_ids)) == (30, 2)


def test_the_next_turn_finds_the_conversation_in_the_cache(either_folder: Path) -> None:
    """Its prompt, and the answer too but for its last token, which nobody computed; in whole blocks of 16."""
    runtime = load_generator(either_folder)
    first = alone(runtime, generate_job("a", list(range(3, 33)), max_tokens=20, temperature=0, ignore_eos=True))
    turns = [*range(3, 33), *first.token_ids, 7, 8, 9]
    fields = {"max_tokens": 10, "temperature": 0, "ignore_eos": True}
    second = alone(runtime, generate_job("b", turns, **fields))
    assert (first.cached_tokens, second.cached_tokens) == (0, (30 + 19) // 16 * 16)
    assert second.token_ids == alone(load_generator(either_folder), generate_job("b", turns, **fields)).token_ids
    stats = runtime.stats()
    assert (stats.prefix_tokens, stats.prefix_hits) == (30 + len(turns), second.cached_tokens)


def test_stats_say_who_runs_and_who_waits(llama_folder: Path) -> None:
    runtime = load_generator(llama_folder, max_batch_size=2, blocks=10)
    for job in "abcde":
        runtime.submit(generate_job(job, [ord(job)] * 17, max_tokens=3, ignore_eos=True))
    before = runtime.stats()
    assert (before.running, before.waiting, before.cache_used) == (0, 5, 0)
    outcomes: dict[str, Outcome] = {}
    collect(runtime.step(), outcomes)
    during = runtime.stats()
    assert (during.running, during.waiting, during.cache_used) == (2, 3, 0.4)
    drain(runtime, outcomes)
    after = runtime.stats()
    assert (after.running, after.waiting, after.cache_used) == (0, 0, 0)


def test_info(runtime: Generator, llama_folder: Path) -> None:
    info = runtime.info
    assert (info.task, info.context_length, info.max_batch_size, info.chat) == ("generate", 128, 4, True)
    assert (info.architecture, info.dtype, info.device) == ("LlamaForCausalLM", "float32", "cpu")
    whole_context = 128 * 2 * 2 * 2 * 16 * 4
    assert info.cache_bytes == 2 * 4 * whole_context, "twice as much as every place can fill, for kept prefixes"
    stored = load_file(llama_folder / "model.safetensors")
    assert info.parameters == sum(tensor.numel() for tensor in stored.values())
    assert info.weight_bytes >= 4 * info.parameters


@pytest.mark.skipif(library() is None, reason="the package was built without kernels for this processor")
def test_info_says_which_forward_computes_and_why(runtime: Generator, torch_folder: Path) -> None:
    assert runtime.info.runner.startswith("native")
    assert load_generator(torch_folder).info.runner == (
        "torch (the kernels compute heads of a multiple of 16, not of 12)"
    )


def test_warm_up_leaves_no_trace(either_folder: Path) -> None:
    runtime = load_generator(either_folder, max_batch_size=3)
    fresh = runtime.stats()
    runtime.warm_up()
    runtime.check_idle()
    assert runtime.due_in() is None
    assert runtime.stats() == fresh


@pytest.mark.parametrize("positions", [1, 2, 9])
def test_warm_up_of_a_short_context(tmp_path: Path, positions: int) -> None:
    runtime = load_generator(build_folder(tmp_path, max_position_embeddings=positions))
    runtime.warm_up()
    runtime.check_idle()


def test_a_model_that_cannot_generate_fails_to_warm_up(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one request after the other."""
    runtime = load_generator(llama_folder)

    def fails(batch: object) -> None:
        raise MemoryError("no room for the step")

    monkeypatch.setattr(runtime.model, "hidden", fails)
    with pytest.raises(StreaminferError, match="no room for the step"):
        runtime.warm_up()
