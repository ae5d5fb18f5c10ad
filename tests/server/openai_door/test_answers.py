"""What is answered, through OpenAI's own client, against a real server."""

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError, PermissionDeniedError

from jupyter_streaminfer.engine import Engine, Stream
from jupyter_streaminfer.protocol import ChatMessage, Generate

from ..conftest import TIMEOUT_S
from .conftest import GREEDY, HELLO, PROMPT


async def generated(engine: Engine, **fields: Any) -> Stream:
    """A stream of the engine's own, read to its end."""
    stream = await engine.generate(Generate("g", "tiny", temperature=0, ignore_eos=True, **fields))
    async with asyncio.timeout(TIMEOUT_S), stream.cursor() as cursor:
        async for _ in cursor:
            pass
    return stream


async def test_models(openai: AsyncOpenAI, engine: Engine) -> None:
    [model] = (await openai.models.list()).data
    assert (model.id, model.object, model.owned_by) == ("tiny", "model", "jupyter_streaminfer")
    assert await openai.models.retrieve("tiny") == model
    for name in ("nope", "digits"):
        with pytest.raises(NotFoundError) as refused:
            await openai.models.retrieve(name)
        assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


async def test_the_key_decides(openai: AsyncOpenAI, app) -> None:
    with pytest.raises(PermissionDeniedError) as refused:
        await openai.with_options(api_key="wrong").models.list()
    assert refused.value.type == "permission_error"
    assert (await openai.with_options(api_key=app.secret.value).models.list()).data == [], "a kernel's secret is one"


async def test_a_completion(openai: AsyncOpenAI, engine: Engine) -> None:
    stream = await generated(engine, prompt="a b", max_tokens=12)
    answer = await openai.completions.create(**PROMPT, max_tokens=12)
    [choice] = answer.choices
    assert (answer.object, answer.model, choice.index) == ("text_completion", "tiny", 0)
    assert (choice.text, choice.finish_reason, choice.logprobs) == (stream.text, "length", None)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (stream.prompt_tokens, 12)
    assert answer.usage.total_tokens == stream.prompt_tokens + 12
    assert answer.usage.prompt_tokens_details is not None
    assert engine.stream(answer.id.removeprefix("cmpl-")).text == choice.text


async def test_a_streamed_completion_brings_the_same(openai: AsyncOpenAI, engine: Engine) -> None:
    whole = await openai.completions.create(**PROMPT, max_tokens=12)
    chunks = [chunk async for chunk in await openai.completions.create(**PROMPT, max_tokens=12, stream=True)]
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]
    assert all(chunk.usage is None for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


async def test_log_probabilities(openai: AsyncOpenAI, engine: Engine) -> None:
    """Greedy, so the token that was chosen is the likeliest."""
    whole = (await openai.completions.create(**PROMPT, max_tokens=5, logprobs=2)).choices[0].logprobs
    assert whole is not None
    assert len(whole.tokens or []) == len(whole.text_offset or []) == 5
    for logprob, top in zip(whole.token_logprobs or [], whole.top_logprobs or [], strict=True):
        assert max(top.values()) == logprob < 0
    chat = (await openai.chat.completions.create(**HELLO, max_tokens=5, logprobs=True, top_logprobs=2)).choices[0]
    assert chat.logprobs is not None
    for token in chat.logprobs.content or []:
        assert token.top_logprobs[0].logprob == token.logprob
        assert len(token.top_logprobs) == 2
    chunks = await openai.chat.completions.create(**HELLO, max_tokens=5, logprobs=True, top_logprobs=2, stream=True)
    streamed = [
        token async for chunk in chunks if (found := chunk.choices[0].logprobs) for token in found.content or []
    ]
    assert streamed == chat.logprobs.content


async def test_a_stop_text_is_not_shown(openai: AsyncOpenAI, engine: Engine) -> None:
    text = (await openai.completions.create(**PROMPT, max_tokens=40)).choices[0].text
    stop = text[10:14]
    [choice] = (await openai.completions.create(**PROMPT, max_tokens=40, stop=stop)).choices
    assert (choice.text, choice.finish_reason) == (text[: text.index(stop)], "stop")


async def test_a_prompt_that_was_seen_is_cached(openai: AsyncOpenAI, engine: Engine) -> None:
    prompt = {**PROMPT, "prompt": [5] * 100, "max_tokens": 2}
    cached = []
    for _ in range(2):
        usage = (await openai.completions.create(**prompt)).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        cached.append(usage.prompt_tokens_details.cached_tokens)
    assert cached == [0, 96]


async def test_a_chat_and_its_stream(openai: AsyncOpenAI, engine: Engine) -> None:
    stream = await generated(engine, messages=[ChatMessage("user", "Hello")], max_tokens=12)
    whole = await openai.chat.completions.create(**HELLO, max_completion_tokens=12)
    [choice] = whole.choices
    assert (choice.message.role, choice.message.content) == ("assistant", stream.text)
    assert (whole.object, choice.finish_reason) == ("chat.completion", "length")
    streamed = await openai.chat.completions.create(
        **HELLO, max_completion_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in streamed]
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == stream.text
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage == whole.usage


async def test_a_turn_may_be_parts_and_a_developers(openai: AsyncOpenAI, engine: Engine) -> None:
    messages = [ChatMessage("system", "Be brief."), ChatMessage("user", "a\nb")]
    stream = await generated(engine, messages=messages, max_tokens=8)
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    answer = await openai.chat.completions.create(
        **GREEDY,
        messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}],
        max_tokens=8,
    )
    assert answer.choices[0].message.content == stream.text
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == stream.prompt_tokens


async def test_an_answer_can_be_sent_back_as_a_turn(openai: AsyncOpenAI, engine: Engine) -> None:
    first = await openai.chat.completions.create(**HELLO, max_tokens=4)
    turns = [*HELLO["messages"], first.choices[0].message, {"role": "user", "content": "And?"}]
    assert (await openai.chat.completions.create(**{**HELLO, "messages": turns}, max_tokens=4)).choices


PROMPTS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "texts": (["a b", "The"], [{"prompt": "a b"}, {"prompt": "The"}]),
    "token ids": ([5, 6, 7], [{"token_ids": [5, 6, 7]}]),
    "lists of token ids": ([[5, 6, 7], [8]], [{"token_ids": [5, 6, 7]}, {"token_ids": [8]}]),
}


@pytest.mark.parametrize("name", PROMPTS)
async def test_every_form_of_prompt(openai: AsyncOpenAI, engine: Engine, name: str) -> None:
    prompt, fields = PROMPTS[name]
    streams = [await generated(engine, max_tokens=6, **each) for each in fields]
    answer = await openai.completions.create(**{**PROMPT, "prompt": prompt}, n=2, max_tokens=6)
    assert [choice.index for choice in answer.choices] == list(range(2 * len(streams)))
    assert [choice.text for choice in answer.choices] == [stream.text for stream in streams for _ in range(2)]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(stream.prompt_tokens for stream in streams), "each prompt counts once"
    assert answer.usage.completion_tokens == 12 * len(streams)


async def test_seeded_choices_differ_and_repeat(openai: AsyncOpenAI, engine: Engine) -> None:
    request = {**PROMPT, "temperature": 1.0, "max_tokens": 16, "seed": 2**63 - 1}
    whole = await openai.completions.create(**request, n=3)
    texts = [choice.text for choice in whole.choices]
    assert len(set(texts)) == 3
    streamed = [""] * 3
    async for chunk in await openai.completions.create(**request, n=3, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == texts
    second = await openai.completions.create(**{**request, "seed": 0})
    assert second.choices[0].text == texts[1]
