"""Bodies of the OpenAI door as requests of ours, and what is refused on the way."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.protocol import ChatMessage, Generate, StreaminferError
from jupyter_streaminfer.server.decode import decode
from jupyter_streaminfer.server.openai.requests import MAX_CHOICES, chat_body, completion_body
from jupyter_streaminfer.server.openai.translate import chat_requests, completion_requests

PROMPT: dict[str, Any] = {"model": "m", "prompt": "x"}
HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def completion(**fields: Any) -> list[Generate]:
    return completion_requests(decode(msgspec.json.encode({**PROMPT, **fields}), completion_body))


def chat(**fields: Any) -> list[Generate]:
    return chat_requests(decode(msgspec.json.encode({**HELLO, **fields}), chat_body))


def test_the_least_is_the_least() -> None:
    assert completion() == [Generate("openai", "m", prompt="x")]
    assert chat() == [Generate("openai", "m", messages=[ChatMessage("user", "x")])]


def test_every_field_has_its_place() -> None:
    same = {
        "max_tokens": 5,
        "temperature": 0.5,
        "top_k": 7,
        "top_p": 0.9,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "presence_penalty": -1.0,
        "frequency_penalty": 2.0,
        "stop_token_ids": [3],
        "min_tokens": 2,
        "seed": 11,
        "ignore_eos": True,
    }
    fields = {**same, "logit_bias": {"17": -100}, "stop": "end", "priority": 3}
    [request] = completion(**fields, logprobs=4)
    expected = {**same, "logit_bias": {17: -100.0}, "stop": ["end"], "priority": -3}
    assert request == Generate("openai", "m", prompt="x", logprobs=4, **expected)
    [request] = chat(**fields, logprobs=True, top_logprobs=4)
    assert request == Generate("openai", "m", messages=[ChatMessage("user", "x")], logprobs=4, **expected)


def test_null_is_absent() -> None:
    nothing = dict.fromkeys(["n", "stop", "temperature", "top_k", "seed", "logit_bias", "stream", "stream_options"])
    assert completion(**nothing, logprobs=None, echo=None, suffix=None) == completion()
    assert chat(**nothing, tools=None, response_format=None, max_completion_tokens=None) == chat()


@pytest.mark.parametrize(("fields", "logprobs"), [({}, None), ({"logprobs": True}, 0), ({"logprobs": False}, None)])
def test_log_probabilities_of_a_chat(fields: dict[str, Any], logprobs: int | None) -> None:
    assert chat(**fields)[0].logprobs == logprobs


def test_the_newer_name_of_max_tokens_counts() -> None:
    assert chat(max_tokens=3, max_completion_tokens=9)[0].max_tokens == 9


@given(seed=st.integers(-(2**63), 2**63 - 1), n=st.integers(1, 8))
def test_choices_have_seeds_of_their_own(seed: int, n: int) -> None:
    seeds = [request.seed for request in completion(seed=seed, n=n)]
    assert len(set(seeds)) == n
    assert all(each is not None and 0 <= each < 2**63 for each in seeds)
    assert seeds == [request.seed for request in completion(seed=seed, n=8)[:n]]
    assert seeds[0] == seed % 2**63


def test_each_prompt_has_the_same_choices() -> None:
    requests = completion(prompt=["a", "b"], n=2, seed=5)
    assert [(request.prompt, request.seed) for request in requests] == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]


HARMLESS: dict[str, Any] = {
    "user": "u",
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "auto",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
    "parallel_tool_calls": True,
    "stream": False,
    "top_k": -1,
}


def test_what_asks_for_nothing_changes_nothing() -> None:
    assert completion(**HARMLESS, echo=False, suffix="", best_of=1) == completion()
    none = {"tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "modalities": ["text"]}
    assert chat(**HARMLESS, **none, functions=[], verbosity="medium", reasoning_effort="none") == chat()
    assert chat(messages=[{"role": "user", "content": "x", "tool_calls": [], "refusal": None}]) == chat()


MANY = MAX_CHOICES + 1
REFUSED_COMPLETIONS: list[tuple[dict[str, Any], str]] = [
    ({"echo": True}, "echo"),
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 2}, "best_of"),
    ({"n": 10**6}, "n"),
    ({"n": 0}, "n"),
    ({"prompt": ["a"] * 2, "n": MAX_CHOICES}, "n"),
    ({"prompt": ["a"] * MANY}, "prompt"),
    ({"prompt": [[5] * 100_000] * 11}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": ["a", 5]}, "prompt"),
    ({"prompt": [True]}, "prompt[0]"),
    ({"prompt": [[0.5]]}, "prompt[0][0]"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": [5]}, "stop[0]"),
    ({"logit_bias": {"the": 1}}, "logit_bias"),
    ({"logit_bias": {"5": "much"}}, "logit_bias[...]"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include": True}}, "stream_options.include"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_k": -2}, "top_k"),
    ({"guided_regex": "a+"}, "guided_regex"),
    ({"tools": []}, "tools"),
]
REFUSED_CHATS: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"functions": [{}]}, "functions"),
    ({"function_call": {"name": "f"}}, "function_call"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {}}, "audio"),
    ({"prediction": {}}, "prediction"),
    ({"reasoning_effort": "high"}, "reasoning_effort"),
    ({"verbosity": "low"}, "verbosity"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"moderation": {}}, "moderation"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": 3}, "logprobs"),
    ({"prompt": "x"}, "prompt"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages[0].name"),
    ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
]


@pytest.mark.parametrize(
    ("ask", "fields", "param"),
    [(completion, *each) for each in REFUSED_COMPLETIONS] + [(chat, *each) for each in REFUSED_CHATS],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_done_is_refused_by_name(ask: Any, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(StreaminferError) as refused:
        ask(**fields)
    assert (refused.value.code, refused.value.field) == ("invalid_request", param)
    assert param.split("[")[0].split(".")[-1] in str(refused.value)
