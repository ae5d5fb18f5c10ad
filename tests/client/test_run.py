"""Streams of values: the same through a server and an engine in this process."""

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from yielding_models import FACTORIES

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.embedded import EmbeddedTransport
from jupyter_streaminfer.client.loop import IOLoop
from jupyter_streaminfer.engine import Engine, EngineConfig
from jupyter_streaminfer.protocol import Delta, Partial, StreaminferError
from jupyter_streaminfer.widgets.snapshot import Snapshot

WAIT_S = 60
MODELS = ("story", "counter", "endless", "raiser")


async def _engine() -> Engine:
    return Engine(EngineConfig(allowed_factories=(FACTORIES,), placement="thread"))


@pytest.fixture(scope="module")
def embedded_runs() -> Iterator[Client]:
    io = IOLoop()
    engine = io.run(_engine())
    transport = EmbeddedTransport(engine)
    with Client(transport, io, lambda: io.run(transport.close())) as client:
        yield loaded(client)
    io.run(engine.close())
    io.stop()


@pytest.fixture(scope="module")
def server_runs(server_client: Client) -> Client:
    return loaded(server_client)


def loaded(client: Client) -> Client:
    for name in MODELS:
        client.load(name, f"yielding_models:{name}", placement="thread")
    return client


@pytest.fixture(params=["embedded", "server"])
def runs(request: pytest.FixtureRequest) -> Client:
    return request.getfixturevalue(f"{request.param}_runs")


def test_texts_and_values(runs: Client) -> None:
    stream = runs.run("story", ["Once ", {"step": 1}, "more", {"step": 2, "loss": 0.5}])
    pieces = list(stream)
    assert [type(piece) for piece in pieces] == [Delta, Partial, Delta, Partial]
    assert [piece.seq for piece in pieces] == [0, 1, 2, 3]
    assert stream.text == "Once more"
    assert stream.values == [{"step": 1}, {"step": 2, "loss": 0.5}]
    assert list(stream.iter_values()) == stream.values
    assert (stream.state, stream.finish_reason, stream.resumable) == ("completed", "stop", False)
    assert stream.usage.completion_tokens == len(stream.at_ms) == 4
    assert stream.timings.ttft_ms == stream.at_ms[0]
    assert stream.at_ms == sorted(stream.at_ms)


async def test_values_come_while_it_runs(runs: Client) -> None:
    stream = await asyncio.to_thread(runs.run, "endless", None)
    seen = []
    async for piece in stream:
        seen.append(piece)
        if len(seen) == 3:
            break
    assert all(isinstance(piece, Partial) for piece in seen)
    assert [value["value"] for value in stream.values[:3]] == [0, 1, 2]
    assert not stream.done
    await asyncio.to_thread(stream.cancel)
    await asyncio.to_thread(stream.wait, WAIT_S)
    assert stream.state == "cancelled"
    assert not stream.resumable
    with pytest.raises(StreaminferError, match="cannot go on in another stream"):
        stream.resume()


def test_arrays_go_in_and_a_retry_asks_the_same_again(runs: Client) -> None:
    stream = runs.run("story", [np.arange(3), np.float32(0.5), "x"]).wait(WAIT_S)
    assert stream.values == [[0, 1, 2], 0.5]
    again = stream.retry().wait(WAIT_S)
    assert again.id != stream.id
    assert again.values == stream.values
    with pytest.raises(StreaminferError) as refused:
        runs.run("story", [object()])
    assert refused.value.field == "inputs"


def test_another_reader_gets_the_same(runs: Client) -> None:
    stream = runs.run("story", ["a", 1, "b", 2]).wait(WAIT_S)
    id = stream.id
    del stream
    again = runs.attach(id).wait(WAIT_S)
    assert (again.text, again.values) == ("ab", [1, 2])


def test_an_error_says_what_was_raised_and_leaves_what_came(runs: Client) -> None:
    stream = runs.run("raiser", None)
    with pytest.raises(StreaminferError, match="ZeroDivisionError: nothing to divide by"):
        list(stream)
    assert stream.values == [{"loss": 1.0}]
    assert stream.text == "so far "


def test_frames(runs: Client) -> None:
    fields = runs.run("story", [{"step": 1, "loss": 2.0}, {"step": 2}]).wait(WAIT_S).to_frame()
    assert list(fields.columns) == ["seq", "at_ms", "step", "loss"]
    assert fields["step"].tolist() == [1, 2]
    assert math.isnan(fields["loss"][1])
    numbers = runs.run("story", ["skipped", 3, 4.5]).wait(WAIT_S).to_frame()
    assert list(numbers.columns) == ["seq", "at_ms", "value"]
    assert numbers[["seq", "value"]].values.tolist() == [[1, 3], [2, 4.5]]
    texts = runs.run("story", ["a", "b"]).wait(WAIT_S).to_frame()
    assert "".join(texts["text"]) == "ab"
    assert len(texts) == 2


def snapshot(stream: ClientStream) -> dict[str, Any]:
    return Snapshot.of(stream).as_json()


def test_a_page_is_shown_values_as_lines_and_progress_as_a_bar(runs: Client) -> None:
    told = ["Epoch", {"loss": 1.5}, [1, 2], "on", {"progress": 0.25, "message": "half way"}, "ward\n", {"progress": 2}]
    stream = runs.run("story", told).wait(WAIT_S)
    shown = snapshot(stream)
    assert shown["text"] == 'Epoch\n{"loss":1.5}\n[1,2]\nonward\n{"progress":2}\n'
    assert shown["progress"] == {"value": 0.25, "message": "half way"}
    assert shown["request"]["type"] == "run"
    assert shown["request"]["inputs"] == told
    assert shown["figures"]["tokens"] == len(told)
    assert snapshot(runs.run("story", ["x"]).wait(WAIT_S))["progress"] is None


def test_progress_that_an_asynchronous_callable_tells(runs: Client) -> None:
    stream = runs.run("counter", 4, key="someone").wait(WAIT_S)
    assert [value["progress"] for value in stream.values] == [0.25, 0.5, 0.75, 1.0]
    assert snapshot(stream)["text"] == ""
