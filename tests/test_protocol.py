"""The messages: what a decoder refuses, and that a refusal names the field."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.protocol import (
    AnyRequest,
    Error,
    ErrorInfo,
    Generate,
    ModelInfo,
    ModelStatus,
    StreaminferError,
    invalid_request,
)

GENERATE = {"type": "generate", "id": "g1", "model": "demo", "prompt": "x"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"max_tokens": "64"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"seed": -1}, "seed"),
        ({"min_p": 1.1}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"presence_penalty": -2.1}, "presence_penalty"),
        ({"frequency_penalty": None}, "frequency_penalty"),
        ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
        ({"logit_bias": {"the": 1}}, "logit_bias"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"stop": "text"}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop_token_ids": [0.5]}, "stop_token_ids[0]"),
        ({"min_tokens": 10**9}, "min_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"priority": 101}, "priority"),
        ({"chunk_tokens": 0}, "chunk_tokens"),
        ({"n": 2}, "n"),
        ({"token_ids": [1, -1]}, "token_ids[1]"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "", "name": "x"}]}, "messages[0].name"),
        ({"id": ""}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"model": "x" * 98}, "model"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(changes: dict, field: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode({**GENERATE, **changes}), type=AnyRequest)
    refusal = invalid_request(caught.value)
    assert refusal.code == "invalid_request"
    assert refusal.field == field
    assert field in str(refusal)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_whatever_a_field_holds_it_fits_or_is_refused_by_name(value: object) -> None:
    for field in ("prompt", "max_tokens", "temperature", "seed", "messages", "detached", "logit_bias", "stop"):
        text = msgspec.json.encode({**GENERATE, field: value})
        try:
            request = msgspec.json.decode(text, type=AnyRequest)
        except msgspec.ValidationError as error:
            found = invalid_request(error).field
        else:
            assert isinstance(request, Generate)
            found = field
        assert str(found).startswith(field)


def test_an_error_says_the_same_as_exception_info_and_frame() -> None:
    info = ErrorInfo("overloaded", "later", True, None, 250.0)
    error = StreaminferError.of(info)
    assert error.info == info
    frame = msgspec.json.decode(msgspec.json.encode(Error.of(info, "g1")))
    assert frame == {
        "type": "error",
        "id": "g1",
        "code": "overloaded",
        "message": "later",
        "retryable": True,
        "retry_after_ms": 250.0,
    }


def test_a_models_short_form_says_what_matters_and_no_path() -> None:
    info = ModelInfo("generate", "LlamaForCausalLM", 4_737_792, 1, "cpu", "float32", context_length=1024)
    status = ModelStatus(
        name="demo", version="1", state="ready", path="/somewhere/private", placement="thread", info=info
    )
    assert repr(status) == "<demo@1: ready, generate, 4,737,792 parameters, cpu float32, context 1,024>"
    why = ErrorInfo("invalid_request", "no weights")
    failed = ModelStatus(name="x", version="1", state="failed", path="/p", placement="thread", error=why)
    assert repr(failed) == "<x@1: failed, no weights>"
