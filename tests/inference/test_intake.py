"""Bad input is refused by the name of its field, with the limit, and disturbs nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.intake import Intake
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import (
    ChatMessage,
    Embed,
    EmbedJob,
    Generate,
    GenerateJob,
    Score,
    ScoreJob,
    StreaminferError,
)

from .conftest import build_folder, drain, generate_job, load_generator, rejected

CONTEXT = 128
LONE = "caf\ud83d"
"""Half an emoji, which a script's `str` may hold."""


@pytest.fixture(scope="module")
def intake(llama_folder: Path) -> Intake:
    return Intake(Tokenizer(llama_folder, 320), 320, CONTEXT)


@pytest.fixture(scope="module")
def runtime(llama_folder: Path) -> Generator:
    return load_generator(llama_folder, max_batch_size=2)


BAD_GENERATIONS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prompt", "exactly one .* none of them"),
    ({"prompt": "a", "token_ids": [4]}, "prompt", "prompt and token_ids"),
    ({"prompt": "a", "messages": [], "token_ids": [4]}, "prompt", "prompt and messages and token_ids"),
    ({"prompt": ""}, "prompt", "empty"),
    ({"token_ids": []}, "token_ids", "empty"),
    ({"messages": []}, "messages", "empty"),
    ({"token_ids": [5, 320]}, "token_ids", "token id 320 is not below the vocabulary's size, 320"),
    ({"token_ids": [2**70]}, "token_ids", "not below"),
    ({"token_ids": [5] * 128}, "token_ids", "128 tokens; the model's context is 128 and needs room"),
    ({"token_ids": [5] * 129}, "token_ids", "129 tokens; the model's context is 128"),
    ({"prompt": "aé" * 100}, "prompt", "the model's context is 128"),
    ({"prompt": "a" * 999_999}, "prompt", "999999 characters"),
    ({"prompt": LONE}, "prompt", "character 3 is a surrogate"),
    ({"messages": [ChatMessage("user", "a" * 999_999)]}, "messages", "999999 characters"),
    ({"messages": [ChatMessage("user", "aé" * 100)]}, "messages", "the model's context is 128"),
    ({"messages": [ChatMessage("user", LONE)]}, "messages", "surrogate"),
    ({"messages": [ChatMessage("system", "be nice")]}, "messages", "no system turn"),
    ({"token_ids": [5] * 100, "max_tokens": 29}, "max_tokens", "ask for 28 at most"),
    ({"token_ids": [5] * 100, "max_tokens": 5, "min_tokens": 6}, "min_tokens", "6 is more than max_tokens = 5"),
    ({"token_ids": [5] * 100, "min_tokens": 29}, "min_tokens", "29 is more than max_tokens = 28"),
    ({"token_ids": [5], "logit_bias": {4: 1.0, 320: 1.0}}, "logit_bias", "320 is not one of the vocabulary's 320"),
    ({"token_ids": [5], "logit_bias": {-1: 1.0}}, "logit_bias", "-1 is not one of"),
    ({"token_ids": [5], "stop_token_ids": [4, 320]}, "stop_token_ids", "320 is not one of"),
]
BAD_CONTINUATIONS: list[tuple[list[int], dict[str, Any], str]] = [
    ([5, 320], {}, "token id 320 is not one of the vocabulary's 320"),
    ([5, -1], {}, "token id -1 is not one of"),
    ([2**70], {}, "is not one of"),
    ([5] * 9, {"max_tokens": 8}, "9 tokens were told already, which is more than max_tokens = 8"),
    ([5] * 128, {}, "more than max_tokens = 127"),
    ([5, 7], {"stop_token_ids": [7]}, "token id 7 ends an answer"),
    ([5, 2], {}, "token id 2 ends an answer"),
]


def refusal(intake: Intake, fields: dict[str, Any]) -> StreaminferError:
    with pytest.raises(StreaminferError) as caught:
        intake.sequence(GenerateJob("a", Generate("a", "m", **fields), 0))
    return caught.value


@pytest.mark.parametrize(("fields", "field", "said"), BAD_GENERATIONS)
def test_a_generation(intake: Intake, fields: dict[str, Any], field: str, said: str) -> None:
    error = refusal(intake, fields)
    assert (error.code, error.field, error.info.retryable) == ("invalid_request", field, False)
    with pytest.raises(StreaminferError, match=said):
        raise error


@pytest.mark.parametrize(("delivered", "fields", "said"), BAD_CONTINUATIONS)
def test_what_was_told_already(runtime: Generator, delivered: list[int], fields: dict[str, Any], said: str) -> None:
    error = rejected(runtime, GenerateJob("a", Generate("a", "m", token_ids=[5], **fields), 0, delivered))
    assert (error.code, error.field, error.retryable) == ("invalid_request", "delivered", False)
    assert said in error.message
    runtime.check_idle()


def test_what_goes_on_has_the_prompt_and_limits_that_it_had(intake: Intake) -> None:
    delivered = [7, 8]
    job = GenerateJob("a", Generate("a", "m", token_ids=[5] * 100, min_tokens=4), 3, delivered, "someone")
    sequence = intake.sequence(job)
    assert (sequence.token_ids, delivered) == ([5] * 100 + [7, 8], [7, 8])
    assert (sequence.prompt_tokens, sequence.generated, sequence.max_tokens, sequence.cost) == (100, 2, 28, 26)
    assert (sequence.sampling.min_tokens, sequence.client) == (4, "someone")


def test_the_longest_that_fits(intake: Intake) -> None:
    sequence = intake.sequence(generate_job("a", [5] * 127))
    assert (sequence.prompt_tokens, sequence.max_tokens) == (127, 1)
    assert len(intake.given([5] * 128, "inputs[0]")) == 128
    assert intake.sequence(generate_job("a", [5] * 100, max_tokens=28, min_tokens=28)).max_tokens == 28


def test_what_was_asked_for_arrives_in_the_sequence(intake: Intake) -> None:
    fields = {
        "temperature": 0.5,
        "top_k": 4,
        "top_p": 0.5,
        "min_p": 0.25,
        "repetition_penalty": 2.0,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "logit_bias": {5: 1.5},
        "min_tokens": 3,
        "logprobs": 2,
    }
    given = [5, 6, 7]
    sequence = intake.sequence(generate_job("a", given, seed=9, priority=4, stop_token_ids=[8], **fields))
    for name, value in fields.items():
        assert getattr(sequence.sampling, name) == value, name
    assert (sequence.priority, sequence.sampling.seed, sequence.sampling.stop_ids) == (4, 9, {2, 8})
    assert sequence.token_ids == given
    assert sequence.token_ids is not given, "the request is not written to"
    ignoring = intake.sequence(generate_job("a", given, stop_token_ids=[8], ignore_eos=True))
    assert ignoring.sampling.stop_ids == {8}


def test_a_model_without_a_template_takes_no_messages(tmp_path: Path) -> None:
    runtime = load_generator(build_folder(tmp_path, chat=False))
    assert not runtime.info.chat
    job = GenerateJob("a", Generate("a", "m", messages=[ChatMessage("user", "hi")]), 0)
    assert rejected(runtime, job).field == "messages"


BAD_READINGS: list[tuple[EmbedJob | ScoreJob, str, str]] = [
    (EmbedJob("r", Embed("r", "m", ["good", ""])), "inputs[1]", "empty"),
    (EmbedJob("r", Embed("r", "m", [[]])), "inputs[0]", "empty"),
    (EmbedJob("r", Embed("r", "m", [[4], [320]])), "inputs[1]", "vocabulary's size, 320"),
    (EmbedJob("r", Embed("r", "m", [[4] * 129])), "inputs[0]", "129 tokens"),
    (EmbedJob("r", Embed("r", "m", ["a" * 999_999])), "inputs[0]", "999999 characters"),
    (EmbedJob("r", Embed("r", "m", ["good", LONE])), "inputs[1]", "surrogate"),
    (ScoreJob("r", Score("r", "m", "", ["x"])), "prompt", "empty"),
    (ScoreJob("r", Score("r", "m", [320], ["x"])), "prompt", "vocabulary's size"),
    (ScoreJob("r", Score("r", "m", LONE, ["x"])), "prompt", "surrogate"),
    (ScoreJob("r", Score("r", "m", "The", ["x", ""])), "continuations[1]", "empty"),
    (ScoreJob("r", Score("r", "m", "The", ["x", LONE])), "continuations[1]", "surrogate"),
    (ScoreJob("r", Score("r", "m", [5], [[4], [320]])), "continuations[1]", "vocabulary's size"),
    (ScoreJob("r", Score("r", "m", [5] * 100, [[4] * 30])), "continuations[0]", "129 tokens"),
]


@pytest.mark.parametrize(("job", "field", "said"), BAD_READINGS)
def test_a_text_to_read(runtime: Generator, job: EmbedJob | ScoreJob, field: str, said: str) -> None:
    error = rejected(runtime, job)
    assert (error.code, error.field) == ("invalid_request", field)
    assert said in error.message
    runtime.check_idle()


def test_bad_requests_disturb_nobody(runtime: Generator) -> None:
    def job() -> GenerateJob:
        return generate_job("good", [5, 6, 7], max_tokens=len(BAD_GENERATIONS) + 5, ignore_eos=True)

    runtime.submit(job())
    expected = drain(runtime)["good"].token_ids
    runtime.submit(job())
    events = []
    for fields, _, _ in BAD_GENERATIONS:
        rejected(runtime, GenerateJob("bad", Generate("bad", "m", **fields), 0))
        events += runtime.step()
    while runtime.due_in() is not None:
        events += runtime.step()
    assert {event.job for event in events} == {"good"}
    assert [token for event in events for token in getattr(event, "token_ids", [])] == expected
    runtime.check_idle()
