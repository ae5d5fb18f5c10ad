"""How a request of the OpenAI door ends that is not answered in full: refused, left, failed, or read too slowly."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from openai import APIError, APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, RateLimitError

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import Cancelled, Generate, Outcomes
from jupyter_streaminfer.server.openai.handler import OpenAIHandler

from ..conftest import TIMEOUT_S
from .conftest import HELLO, LONG, PROMPT, Spy, ends


async def test_refusals_come_before_the_stream(openai: AsyncOpenAI, engine: Engine) -> None:
    with pytest.raises(NotFoundError) as lost:
        await openai.completions.create(**{**PROMPT, "model": "nope"}, stream=True)
    assert (lost.value.code, lost.value.param, lost.value.type) == (
        "model_not_found",
        "model",
        "invalid_request_error",
    )
    with pytest.raises(BadRequestError) as refused:
        await openai.completions.create(**{**PROMPT, "prompt": ["fine", [5]]}, stream=True)
    assert refused.value.param == "prompt"
    assert engine.streams() == []


ENGINES: dict[str, tuple[str, dict[str, Any], str]] = {
    "temperature": ("completions", {"prompt": "a", "temperature": -1}, "temperature"),
    "token id": ("completions", {"prompt": [[5], [10**9]]}, "prompt"),
    "negative token id": ("completions", {"prompt": [5, -1]}, "prompt[1]"),
    "empty prompt": ("completions", {"prompt": ""}, "prompt"),
    "too many tokens": ("completions", {"prompt": "a", "max_tokens": 300_000}, "max_tokens"),
    "too many new tokens": ("chat", {"max_completion_tokens": 300_000}, "max_completion_tokens"),
    "top logprobs": ("chat", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    "penalty": ("chat", {"presence_penalty": 2.5}, "presence_penalty"),
    "stop": ("chat", {"stop": ["a", ""]}, "stop[1]"),
    "no messages": ("chat", {"messages": []}, "messages"),
}


@pytest.mark.parametrize("name", ENGINES)
async def test_the_engines_refusals_name_what_the_client_sent(openai: AsyncOpenAI, engine: Engine, name: str) -> None:
    kind, fields, param = ENGINES[name]
    create: Callable[..., Any] = openai.completions.create if kind == "completions" else openai.chat.completions.create
    with pytest.raises(BadRequestError) as refused:
        await create(**{**(HELLO if kind == "chat" else PROMPT), **fields})
    assert (refused.value.param, refused.value.code) == (param, "invalid_request")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert all(stream.state != "open" for stream in engine.streams()), "one prompt's refusal ends the others"


class TestOverloaded:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"max_streams": 2}

    async def test_it_is_told_to_come_again(self, openai: AsyncOpenAI, engine: Engine) -> None:
        running = await engine.generate(Generate("g", "tiny", prompt="a", max_tokens=LONG, ignore_eos=True))
        with pytest.raises(RateLimitError) as refused:
            await openai.completions.create(**PROMPT, n=2, max_tokens=LONG)
        assert (refused.value.code, refused.value.type) == ("overloaded", "rate_limit_error")
        assert refused.value.response.headers["retry-after"] == "1"
        assert not running.closed
        assert [stream.state for stream in engine.streams()].count("open") == 1, "all choices or none"
        engine.cancel(running.id)  # A server that stops would give it time to come to its end.


async def test_without_an_engine_it_is_unavailable(openai: AsyncOpenAI, app) -> None:
    await app.stop_extension()
    with pytest.raises(APIError) as refused:
        await openai.models.list()
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["x-should-retry"] == "true"


async def test_closing_a_stream_ends_all_its_choices(
    openai: AsyncOpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(engine, monkeypatch)
    answer = await openai.completions.create(**PROMPT, n=3, max_tokens=LONG, stream=True)
    await anext(aiter(answer))
    await answer.close()
    for stream in spy.streams:
        terminal = await ends(stream)
        assert isinstance(terminal, Cancelled)
        assert terminal.reason == "abandoned"
    assert len(spy.streams) == 3
    assert engine.metrics().traffic.outcomes == Outcomes(disconnected=3)


async def test_leaving_before_a_whole_answer_ends_it(
    openai: AsyncOpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(engine, monkeypatch)
    asking = asyncio.create_task(openai.chat.completions.create(**HELLO, n=2, max_tokens=LONG))
    await spy.started(2)
    asking.cancel()
    for stream in spy.streams:
        assert isinstance(await ends(stream), Cancelled)
    assert engine.metrics().traffic.outcomes == Outcomes(disconnected=2)


async def test_leaving_before_the_admission_ends_the_request(
    openai: AsyncOpenAI, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def never(request: Generate, client: str) -> None:
        asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            left.set()

    monkeypatch.setattr(engine, "generate", never)
    asking = asyncio.create_task(openai.completions.create(**PROMPT))
    await asyncio.wait_for(asked.wait(), TIMEOUT_S)
    asking.cancel()
    await asyncio.wait_for(left.wait(), TIMEOUT_S)


async def test_an_end_in_mid_stream_is_an_error_and_not_done(openai: AsyncOpenAI, engine: Engine) -> None:
    request = {**HELLO, "max_tokens": LONG, "stream": True}
    streamed = await openai.chat.completions.create(**request)
    await anext(aiter(streamed))
    await engine.unload("tiny")
    with pytest.raises(APIError, match="unload") as failed:
        async for _ in streamed:
            pass
    assert failed.value.code == "cancelled"


async def events(jp_fetch, path: str, body: dict[str, Any]) -> list[str]:
    """The data of each event of an answer."""
    response = await jp_fetch("streaminfer", "v1", path, method="POST", body=json.dumps(body))
    assert response.headers["Content-Type"].startswith("text/event-stream")
    text = response.body.decode()
    assert text.endswith("\n\n")
    return [each.removeprefix("data: ") for each in text[:-2].split("\n\n")]


async def test_a_client_that_takes_nothing_gets_merged_deltas(
    jp_fetch, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, spy = asyncio.Event(), Spy(engine, monkeypatch)
    flush = OpenAIHandler.flush

    async def gated(self, *args: Any, **options: Any) -> None:
        await gate.wait()
        await flush(self, *args, **options)

    monkeypatch.setattr(OpenAIHandler, "flush", gated, raising=False)
    body = {"model": "tiny", "prompt": "a b", "temperature": 0, "ignore_eos": True, "max_tokens": 200, "stream": True}
    asking = asyncio.create_task(events(jp_fetch, "completions", body))
    await spy.started(1)
    await ends(spy.streams[0])
    monkeypatch.setattr(OpenAIHandler, "flush", flush)
    gate.set()
    delta, finish, done = await asyncio.wait_for(asking, TIMEOUT_S)
    assert json.loads(delta)["choices"][0]["text"] == spy.streams[0].text
    assert json.loads(finish)["choices"][0]["finish_reason"] == "length"
    assert done == "[DONE]"


async def test_a_body_that_is_no_json_is_refused_in_openais_shape(request_api, app) -> None:
    status, answer = await request_api("v1", "chat/completions", method="POST", body=b"{")
    assert status == 400
    assert answer["error"].keys() == {"message", "type", "param", "code"}
    status, answer = await request_api("v1", "completions", method="POST", body=b" " * (4 * 2**20 + 1))
    assert (status, answer["error"]["code"]) == (413, "too_large")
    status, answer = await request_api("v1", "completions")
    assert (status, answer["error"]["type"]) == (405, "invalid_request_error")


async def read_into(got: list[Any], chunks: AsyncIterator[Any]) -> None:
    """Every chunk up to the end or an error."""
    async for chunk in chunks:
        got.append(chunk)  # noqa: PERF401 (what came before an error counts)


class TestDeadline:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"total_deadline_s": 0.3}

    async def test_it_is_an_error_and_never_an_end_by_length(self, openai: AsyncOpenAI, engine: Engine) -> None:
        """A client that took it for ``length`` would believe that it has all that it asked for."""
        got: list[Any] = []
        with pytest.raises(APIError, match="deadline") as late:
            await read_into(got, await openai.completions.create(**PROMPT, max_tokens=LONG, stream=True))
        assert late.value.code == "deadline"
        assert {chunk.choices[0].finish_reason for chunk in got} == {None}
        [stream] = engine.streams()
        assert stream.state == "incomplete"
        assert stream.stream in str(late.value)
        assert "".join(chunk.choices[0].text for chunk in got) == engine.stream(stream.stream).text

    async def test_a_whole_answer_is_refused_by_its_status(self, openai: AsyncOpenAI, engine: Engine) -> None:
        with pytest.raises(APIStatusError) as late:
            await openai.completions.create(**PROMPT, max_tokens=LONG)
        assert (late.value.status_code, late.value.code) == (504, "deadline")
        assert late.value.response.headers["x-should-retry"] == "false", "it would take as long again"


class TestHeartbeats:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"heartbeat_s": 0.1, "max_batch_size": 1}

    async def test_comments_while_it_waits_disturb_no_client(self, openai: AsyncOpenAI, engine: Engine) -> None:
        running = await engine.generate(Generate("g", "tiny", prompt="a", max_tokens=LONG, ignore_eos=True))
        waiting = await openai.completions.create(**PROMPT, max_tokens=5, stream=True)
        lines = waiting.response.aiter_lines()
        while await asyncio.wait_for(anext(lines), TIMEOUT_S) != ": ping":
            pass
        engine.cancel(running.id)
        assert [line async for line in lines][-2:] == ["data: [DONE]", ""]
        again = await openai.completions.create(**PROMPT, max_tokens=5, stream=True)
        assert [chunk.choices[0].finish_reason async for chunk in again][-1] == "length"
