import numpy as np
import pytest

from jupyter_streaminfer.client.encoding import checked
from jupyter_streaminfer.protocol import (
    MAX_MESSAGE_BYTES,
    Generate,
    LoadModel,
    Predict,
    StreaminferError,
    encode_inputs,
)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": float("inf")}, "top_p"),
        ({"min_p": float("nan")}, "min_p"),
        ({"logit_bias": {5: float("nan")}}, "logit_bias"),
        ({"logit_bias": {"the": 1.0}}, "logit_bias"),
        ({"logit_bias": 5}, "logit_bias"),
        ({"stop": 5}, "stop"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"chunk_tokens": 0}, "chunk_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"token_ids": [1, -1]}, "token_ids"),
        ({"messages": [{"role": "judge", "content": ""}]}, "messages"),
        ({"model": ""}, "model"),
    ],
)
def test_what_no_server_takes_is_refused_by_name(options: dict, field: str) -> None:
    with pytest.raises(StreaminferError) as raised:
        checked(Generate(**{"id": "r", "model": "m", **options}))
    assert raised.value.code == "invalid_request"
    assert raised.value.field is not None
    assert raised.value.field.startswith(field)


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(StreaminferError) as raised:
        checked(Generate("r", "m", prompt="\ud800"))
    assert raised.value.code == "invalid_request"


def test_numpy_numbers_are_numbers() -> None:
    request, _ = checked(Generate("r", "m", token_ids=np.array([1, 2]), max_tokens=np.int64(3), seed=np.uint32(7)))
    assert (request.token_ids, request.max_tokens, request.seed) == ([1, 2], 3, 7)


def test_too_large_is_said_before_it_is_sent() -> None:
    with pytest.raises(StreaminferError) as raised:
        checked(Predict("r", "m", encode_inputs(["x" * MAX_MESSAGE_BYTES])))
    assert raised.value.code == "too_large"


def test_a_load_is_checked_too() -> None:
    with pytest.raises(StreaminferError) as raised:
        checked(LoadModel(name=""))
    assert raised.value.field == "name"
