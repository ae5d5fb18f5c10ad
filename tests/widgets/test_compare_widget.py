"""A comparison's kernel side, over an engine in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets import Compare

OPTIONS: dict[str, Any] = {"max_tokens": 8, "ignore_eos": True}
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def client(long_llama: Path) -> Iterator[Client]:
    """One for all these tests: none of them minds the streams of the others."""
    with embedded() as client:
        client.load("tiny", long_llama)
        yield client


def waited(compare: Compare) -> Compare:
    for stream in compare.streams:
        if stream is not None:
            stream.wait(TIMEOUT_S)
    return compare


def test_every_model_answers_with_each_temperature_and_seed(client: Client) -> None:
    compare = waited(Compare(client, "The", ["tiny", "tiny@1"], temperature=[0.0, 1.0], seed=[1, 2], **OPTIONS))
    frame = compare.to_frame()
    assert list(frame["model"]) == ["tiny"] * 8
    assert list(frame["version"]) == ["1"] * 8
    assert list(frame["temperature"]) == [0.0, 0.0, 1.0, 1.0] * 2
    assert list(frame["seed"]) == [1, 2] * 4
    assert list(frame["text"][:4]) == list(frame["text"][4:])
    assert frame["text"][0] == frame["text"][1]
    one = client.generate("tiny", "The", temperature=1.0, seed=2, **OPTIONS).wait()
    assert frame["text"][3] == one.text


def test_figures_are_those_of_the_streams(client: Client) -> None:
    compare = waited(Compare(client, "The", "tiny", seed=[1, 2], **OPTIONS))
    for row, stream in zip(compare.to_frame().itertuples(), compare.streams, strict=True):
        assert stream is not None
        timings, at_ms = stream.timings, stream.at_ms
        assert timings is not None
        assert timings.itl_ms is not None
        assert (row.tokens, row.ttft_ms) == (8, at_ms[0])
        assert (row.itl_p50_ms, row.itl_p95_ms) == (timings.itl_ms.p50, timings.itl_ms.p95)
        assert row.tokens_per_s == pytest.approx(7000 / (at_ms[-1] - at_ms[0]))


def test_one_that_is_refused_says_why_beside_the_others(client: Client) -> None:
    compare = waited(Compare(client, "The", ["tiny", "nobody"], **OPTIONS))
    frame = compare.to_frame()
    assert list(frame["state"]) == ["completed", "failed"]
    assert compare.answers[1]["error"]["code"] == "model_not_found"
    assert compare.streams[1] is None
    assert "nobody" in compare.text()
    assert "<table>" in compare.html()


def test_where_all_are_refused_it_is_an_error(client: Client) -> None:
    with pytest.raises(StreaminferError) as refused:
        Compare(client, "The", ["nobody", "no one"])
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("models", "options", "field"),
    [
        ([], {}, "models"),
        (["tiny"] * 9, {"seed": [1, 2]}, "models"),
        ("tiny", {"temperature": [0.5, -1.0]}, "temperature"),
        ("tiny", {"messages": []}, "messages"),
    ],
)
def test_what_cannot_be_asked_is_refused(client: Client, models: Any, options: Any, field: str) -> None:
    before = client.streams()
    with pytest.raises(StreaminferError) as refused:
        Compare(client, "The", models, **options)
    assert refused.value.field == field
    assert len(client.streams()) == len(before)


def test_stop_and_retry_by_the_page(client: Client) -> None:
    compare = Compare(client, "The", "tiny", seed=[1, 2], max_tokens=ENDLESS, ignore_eos=True)
    one, two = compare.streams
    assert one is not None
    assert two is not None
    compare._handle_custom_msg({"type": "cancel", "column": 0}, [])
    one.wait(TIMEOUT_S)
    assert (one.state, two.state) == ("cancelled", "open")
    changed = threading.Event()
    compare.observe(lambda change: changed.set() if change["new"][0]["stream"] not in ("", one.id) else None, "answers")
    compare._handle_custom_msg({"type": "retry", "column": 0}, [])
    assert changed.wait(TIMEOUT_S)
    assert compare.streams[1] is two
    for place in (7, -1, None, "0"):
        compare._handle_custom_msg({"type": "cancel", "column": place}, [])
    assert two.state == "open"
    compare.stop()
    waited(compare)


def test_what_is_kept_is_escaped(client: Client) -> None:
    compare = waited(Compare(client, "<b>The</b>", "tiny", **OPTIONS))
    assert "<b>" not in compare.html()
    assert compare.text().startswith("<b>The</b>\n\ntiny\n")
