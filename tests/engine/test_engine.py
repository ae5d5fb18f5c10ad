"""The engine in a plain script: load, generate, predict, cancel, unload, with real models."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from predicting import predict, rows
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine, EngineConfig, Stream
from jupyter_streaminfer.protocol import Cancelled, Completed, Delta, Generate, StreaminferError

IMAGE = [0.0] * 64


@pytest.fixture
async def engine(tiny_llama: Path) -> AsyncIterator[Engine]:
    engine = Engine()
    await engine.load("tiny", str(tiny_llama))
    yield engine
    await engine.close()


def request(**changes: object) -> Generate:
    fields = {
        "id": "g1",
        "model": "tiny",
        "prompt": "The quick",
        "max_tokens": 20,
        "temperature": 0,
        "ignore_eos": True,
    }
    return Generate(**{**fields, **changes})


async def read(stream: Stream) -> list:
    async with stream.cursor() as cursor:
        return [event async for event in cursor]


async def test_a_generation_from_load_to_terminal_event(engine: Engine) -> None:
    stream = await engine.generate(request())
    events = await asyncio.wait_for(read(stream), 30)
    assert isinstance(events[-1], Completed)
    assert events[-1].finish_reason == "length"
    assert events[-1].usage.completion_tokens == 20
    timings = events[-1].timings
    assert 0 <= timings.queue_ms <= timings.ttft_ms <= timings.duration_ms
    token_ids = [token for event in events if isinstance(event, Delta) for token in event.token_ids]
    assert len(token_ids) == 20
    assert engine.model("tiny").active == 0
    assert engine.model("tiny").requests == 1


async def test_a_seeded_stream_is_the_same_alone_and_in_a_crowd(engine: Engine) -> None:
    seeded = request(temperature=1.0, seed=11)
    alone = await engine.generate(seeded)
    await asyncio.wait_for(read(alone), 30)
    crowd = [await engine.generate(request(id=f"c{n}", temperature=1.0, seed=n, max_tokens=40)) for n in range(6)]
    again = await engine.generate(seeded)
    await asyncio.wait_for(asyncio.gather(*(read(each) for each in [again, *crowd])), 30)
    assert again.text == alone.text
    assert len({each.text for each in crowd}) == len(crowd)


async def test_a_cancel_ends_one_stream_and_disturbs_no_other(engine: Engine) -> None:
    other = await engine.generate(request(id="g2", max_tokens=100))
    doomed = await engine.generate(request(max_tokens=200))
    engine.cancel(doomed.id)
    (terminal,) = (await asyncio.wait_for(read(doomed), 30))[-1:]
    assert isinstance(terminal, Cancelled)
    assert terminal.reason == "client"
    assert terminal.usage.completion_tokens < 200
    events = await asyncio.wait_for(read(other), 30)
    assert events[-1].usage.completion_tokens == 100
    engine.cancel(doomed.id)
    assert doomed.status().state == "cancelled"


async def test_two_loads_at_once_are_one(tiny_llama: Path) -> None:
    engine = Engine()
    first, second = await asyncio.gather(engine.load("m", str(tiny_llama)), engine.load("m", str(tiny_llama)))
    assert first.state == second.state == "ready"
    assert len(engine.models()) == 1
    await engine.close()


async def test_a_loaded_name_is_enough_to_find_it_again(engine: Engine, tmp_path: Path) -> None:
    assert (await engine.load("tiny")).path == engine.model("tiny").path
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StreaminferError) as refusal:
        await engine.load("tiny", str(tmp_path))
    assert refusal.value.field == "path"
    assert engine.model("tiny").state == "ready"


async def test_a_failed_load_says_why_and_the_rest_goes_on(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StreaminferError) as refusal:
        await engine.load("broken", str(tmp_path))
    assert refusal.value.code == "invalid_request"
    assert engine.model("broken").state == "failed"
    assert engine.model("broken").error == refusal.value.info
    with pytest.raises(StreaminferError) as refusal:
        await engine.generate(request(model="broken"))
    assert refusal.value.code == "model_not_ready"
    stream = await engine.generate(request())
    assert isinstance((await asyncio.wait_for(read(stream), 30))[-1], Completed)
    assert engine.health().status == "ok"


async def test_a_failed_load_can_be_tried_again(tiny_llama: Path, tmp_path: Path) -> None:
    engine = Engine()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes((tiny_llama / "config.json").read_bytes())
    with pytest.raises(StreaminferError, match="is missing"):
        await engine.load("m", str(folder))
    for path in tiny_llama.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert (await engine.load("m", str(folder))).state == "ready"
    await engine.close()


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"model": "nobody"}, "model_not_found", "model"),
        ({"prompt": ""}, "invalid_request", "prompt"),
        ({"prompt": "word " * 2000}, "invalid_request", "prompt"),
        ({"prompt": None}, "invalid_request", "prompt"),
        ({"prompt": None, "token_ids": [10**6]}, "invalid_request", "token_ids"),
        ({"token_ids": [5]}, "invalid_request", None),
        ({"max_tokens": 0}, "invalid_request", "max_tokens"),
        ({"max_tokens": 10**9}, "invalid_request", "max_tokens"),
        ({"max_tokens": 256}, "invalid_request", "max_tokens"),
        ({"temperature": math.nan}, "invalid_request", "temperature"),
        ({"temperature": -1.0}, "invalid_request", "temperature"),
        ({"top_p": 0.0}, "invalid_request", "top_p"),
        *(
            ({name: value}, "invalid_request", name)
            for name in ("top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
            for value in (math.nan, math.inf, -math.inf)
        ),
        ({"logit_bias": {5: math.nan}}, "invalid_request", "logit_bias[...]"),
        ({"logit_bias": {5: 101.0}}, "invalid_request", "logit_bias[...]"),
        ({"logit_bias": dict.fromkeys(range(1025), 1.0)}, "invalid_request", "logit_bias"),
        ({"stop": ["a"] * 17}, "invalid_request", "stop"),
        ({"stop": ["a", ""]}, "invalid_request", "stop[1]"),
        ({"stop": ["a" * 257]}, "invalid_request", "stop[0]"),
        ({"stop_token_ids": [-1]}, "invalid_request", "stop_token_ids[0]"),
        ({"min_tokens": -1}, "invalid_request", "min_tokens"),
        ({"logprobs": 21}, "invalid_request", "logprobs"),
        ({"priority": 101}, "invalid_request", "priority"),
        ({"chunk_tokens": 0}, "invalid_request", "chunk_tokens"),
        ({"chunk_tokens": 4097}, "invalid_request", "chunk_tokens"),
        ({"prompt": None, "messages": []}, "invalid_request", "messages"),
    ],
)
async def test_bad_input_is_refused_by_name(engine: Engine, changes: dict, code: str, field: str | None) -> None:
    with pytest.raises(StreaminferError) as refusal:
        await asyncio.wait_for(engine.generate(request(**changes)), 30)
    assert refusal.value.code == code
    if field is not None:
        assert refusal.value.field == field
    assert engine.streams() == []
    assert engine.model("tiny").active == 0


async def test_a_stream_that_nobody_reads_ends_after_its_grace_period(long_llama: Path) -> None:
    engine = Engine(EngineConfig(grace_s=0.05))
    await engine.load("tiny", str(long_llama))
    kept = await engine.generate(request(max_tokens=ENDLESS, detached=True))
    abandoned = await engine.generate(request(max_tokens=ENDLESS))
    async with asyncio.timeout(30):
        while not abandoned.closed:  # noqa: ASYNC110 (to wait by a cursor would be to read it)
            await asyncio.sleep(0.01)
    (terminal,) = (await read(abandoned))[-1:]
    assert isinstance(terminal, Cancelled)
    assert terminal.reason == "abandoned"
    assert not kept.closed
    await engine.close()


async def test_the_oldest_closed_stream_makes_room(long_llama: Path) -> None:
    engine = Engine(EngineConfig(max_streams=2))
    await engine.load("tiny", str(long_llama))
    first = await engine.generate(request(max_tokens=1))
    await asyncio.wait_for(read(first), 30)
    running = [await engine.generate(request(max_tokens=ENDLESS)) for _ in range(2)]
    with pytest.raises(StreaminferError) as gone:
        engine.stream(first.id)
    assert gone.value.code == "stream_not_found"
    with pytest.raises(StreaminferError) as refusal:
        await engine.generate(request())
    assert refusal.value.code == "overloaded"
    assert not any(each.closed for each in running)
    await engine.close()


async def test_unloading_ends_the_streams_of_that_model_alone(engine: Engine, long_llama: Path) -> None:
    await engine.load("other", str(long_llama))
    doomed = await engine.generate(request(max_tokens=ENDLESS, model="other"))
    stays = await engine.generate(request(max_tokens=50))
    await engine.unload("other")
    (terminal,) = (await read(doomed))[-1:]
    assert isinstance(terminal, Cancelled)
    assert terminal.reason == "unload"
    assert isinstance((await asyncio.wait_for(read(stays), 30))[-1], Completed)
    assert [model.name for model in engine.models()] == ["tiny"]


async def test_predictions_of_many_callers_are_answered_each_with_its_own() -> None:
    engine = Engine()
    await engine.load("digits")
    images = [[float((n * 7 + k) % 17) for k in range(64)] for n in range(40)]
    asked = [predict(f"p{n}", "digits", [image]) for n, image in enumerate(images)]
    alone = [rows(await engine.predict(request))[0] for request in asked]
    together = await asyncio.gather(*map(engine.predict, asked))
    for one, result in zip(alone, together, strict=True):
        (output,) = rows(result)
        assert output["label"] == one["label"]
        assert output["confidence"] == pytest.approx(one["confidence"], abs=1e-4)
        assert output["scores"] == sorted(output["scores"], key=lambda score: -score["confidence"])
    await engine.close()


async def test_a_vanished_caller_of_a_prediction_stalls_nobody() -> None:
    engine = Engine(EngineConfig(max_wait_ms=50))
    await engine.load("digits")
    gone = asyncio.create_task(engine.predict(predict("p1", "digits", [IMAGE])))
    stays = asyncio.create_task(engine.predict(predict("p2", "digits", [IMAGE])))
    await asyncio.sleep(0)
    gone.cancel()
    assert len(rows(await asyncio.wait_for(stays, 30))) == 1
    assert gone.cancelled() or gone.cancelling()
    assert engine.model("digits").active == 0
    await engine.close()


async def test_closing_refuses_what_comes_after(tiny_llama: Path) -> None:
    engine = Engine()
    await engine.load("tiny", str(tiny_llama))
    stream = await engine.generate(request(max_tokens=240))
    await asyncio.wait_for(engine.close(), 30)
    assert stream.closed
    assert engine.health().status == "stopping"
    with pytest.raises(StreaminferError) as refusal:
        await engine.generate(request())
    assert refusal.value.code == "overloaded"


@pytest.mark.parametrize("name", ["", "../demo", "a/b", ".hidden", "x" * 65, "naïve", "a\n"])
async def test_a_name_that_could_be_a_path_is_refused(name: str) -> None:
    engine = Engine()
    with pytest.raises(StreaminferError) as refusal:
        await engine.load(name)
    assert refusal.value.field == "name"
    assert engine.models() == []


def test_the_configuration_is_a_value() -> None:
    assert replace(EngineConfig(), grace_s=1.0) == EngineConfig(grace_s=1.0)
