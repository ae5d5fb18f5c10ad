import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.partial_json import partial_json
from jupyter_streaminfer.protocol import Delta, StreaminferError

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def is_beginning(part: Any, whole: Any) -> bool:
    """Whether a value may be what is known of another one, of which the text is not all there."""
    match part, whole:
        case str(), str():
            return whole.startswith(part)
        case list(), list():
            return len(part) <= len(whole) and all(map(is_beginning, part, whole))
        case dict(), dict():
            return all(key in whole and is_beginning(value, whole[key]) for key, value in part.items())
        case (None, _):
            return True
        case int() | float(), int() | float():
            # A number may go on: 12 is the beginning of 123.45, and 1e+1 that of 1e+16.
            return True
    return bool(part == whole)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_every_beginning_of_a_json_text_is_a_value(value: Any, ascii: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    for end in range(len(text)):
        assert is_beginning(partial_json(text[:end]), value), text[:end]
    assert partial_json(text) == value


texts = st.recursive(
    st.none() | st.booleans() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(texts, min_size=1) | st.dictionaries(st.text(), texts, min_size=1))
def test_what_is_there_stays_there(value: Any) -> None:
    """But for numbers, which are none after a point: 1 may be followed by 1., and that by 1.5."""
    text = json.dumps(value)
    parts = [partial_json(text[:end]) for end in range(1, len(text) + 1)]
    assert all(is_beginning(part, later) for part, later in itertools.pairwise(parts))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        (" \n", None),
        ("tru", None),
        ('"ab', "ab"),
        ('{"a": [1, 2', {"a": [1, 2]}),
        ('{"a": "x', {"a": "x"}),
        ('{"a": 1, "b', {"a": 1}),
        ('["\\ud83d', [""]),
        ("[1] ", [1]),
    ],
)
def test_examples(text: str, value: Any) -> None:
    assert partial_json(text) == value


@pytest.mark.parametrize(
    "text",
    ["Sure! {", "nope", '{"a": 1} and', "[1 2", "{1: 2}", "[1,,", "NaN", "[-Infinity", "'a'", "[" * 5000, "\x00"],
)
def test_what_is_no_json_says_so(text: str) -> None:
    with pytest.raises(StreaminferError, match="no JSON") as raised:
        partial_json(text)
    assert raised.value.code == "invalid_request"


def test_a_stream_of_json_can_be_looked_at_at_any_time(embedded_client: Client) -> None:
    stream = ClientStream(embedded_client, None)
    assert stream.json is None
    stream.events([Delta("st_1", 0, '{"names": ["Ada", "Gra', [1], [1.0])])
    assert stream.json == {"names": ["Ada", "Gra"]}
    rest = ClientStream(embedded_client, None, stream)
    rest.events([Delta("st_2", 0, 'ce"], "n": 2}', [1], [1.0])])
    assert rest.json == {"names": ["Ada", "Grace"], "n": 2}
