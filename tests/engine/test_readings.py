"""Embeddings and scores through the engine: answered in company, refused by name, cancelled and unloaded midway."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import Completed, Embed, Generate, Score, StreaminferError

MANY = [[5 + index % 200] * 250 for index in range(256)]
"""Texts that take seconds to read."""


@pytest.fixture
async def engine(tiny_llama: Path) -> AsyncIterator[Engine]:
    engine = Engine()
    await engine.load("tiny", str(tiny_llama))
    yield engine
    await engine.close()


def running(engine: Engine) -> int:
    stats = engine.model("tiny").stats
    assert stats is not None
    return stats.running


async def ask(engine: Engine, question: Embed | Score | Generate) -> object:
    match question:
        case Embed():
            return await engine.embed(question)
        case Score():
            return await engine.score(question)
        case Generate():
            return await engine.generate(question)


async def caught_midway(engine: Engine, question: Embed | Score) -> asyncio.Task[object]:
    """The question's task, once some of its texts are being read."""
    task = asyncio.create_task(ask(engine, question))
    async with asyncio.timeout(30):
        while not running(engine):  # noqa: ASYNC110 (no event tells of it)
            await asyncio.sleep(0)
    assert not task.done()
    return task


async def until_idle(engine: Engine) -> None:
    async with asyncio.timeout(30):
        while running(engine):  # noqa: ASYNC110
            await asyncio.sleep(0)


QUESTIONS = [Embed("e", "tiny", MANY), Score("s", "tiny", [5, 6], [text[:-2] for text in MANY])]


async def test_many_callers_get_each_their_own(engine: Engine) -> None:
    texts = [f"text {index}" for index in range(12)]
    stream = await engine.generate(Generate("g", "tiny", prompt="The", max_tokens=40, ignore_eos=True))
    together = await asyncio.gather(*(engine.embed(Embed(text, "tiny", [text])) for text in texts))
    all_in_one = await engine.embed(Embed("all", "tiny", texts))
    for one, vector in zip(together, all_in_one.vectors, strict=True):
        assert one.vectors[0] == pytest.approx(vector, abs=1e-5)
    assert sum(one.prompt_tokens for one in together) == all_in_one.prompt_tokens
    scores = await engine.score(Score("s", "tiny", "The quick", [" brown", " fox"]))
    assert [len(one.token_logprobs) > 0 for one in scores.scores] == [True, True]
    async with asyncio.timeout(30), stream.cursor() as cursor:
        assert isinstance([event async for event in cursor][-1], Completed)
    assert engine.model("tiny").active == 0


@pytest.mark.parametrize("question", QUESTIONS, ids=["embed", "score"])
async def test_a_caller_that_goes_midway_frees_its_place(engine: Engine, question: Embed | Score) -> None:
    task = await caught_midway(engine, question)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(engine)
    assert engine.model("tiny").active == 0
    assert len((await engine.embed(Embed("next", "tiny", ["The"]))).vectors) == 1


@pytest.mark.parametrize("question", QUESTIONS, ids=["embed", "score"])
async def test_unloading_midway_tells_the_caller(engine: Engine, question: Embed | Score) -> None:
    task = await caught_midway(engine, question)
    await asyncio.wait_for(engine.unload("tiny"), 30)
    with pytest.raises(StreaminferError) as refusal:
        await task
    assert refusal.value.code == "cancelled"
    assert engine.models() == []


@pytest.mark.parametrize(
    ("question", "code", "field"),
    [
        (Embed("e", "nobody", ["a"]), "model_not_found", "model"),
        (Embed("e", "tiny", []), "invalid_request", "inputs"),
        (Embed("e", "tiny", ["a"] * 257), "invalid_request", "inputs"),
        (Embed("e", "tiny", ["a", ""]), "invalid_request", "inputs[1]"),
        (Embed("e", "tiny", ["a", "\ud800"]), "invalid_request", "inputs[1]"),
        (Embed("e", "tiny", [[-1]]), "invalid_request", "inputs[0][0]"),
        (Embed("e", "tiny", [[10**6]]), "invalid_request", "inputs[0]"),
        (Embed("e", "tiny", ["a"], pooling="max"), "invalid_request", "pooling"),  # type: ignore[arg-type]
        (Score("s", "tiny", "a", []), "invalid_request", "continuations"),
        (Score("s", "tiny", "a", ["b"] * 257), "invalid_request", "continuations"),
        (Score("s", "tiny", "", ["b"]), "invalid_request", "prompt"),
        (Score("s", "tiny", "a", ["b", ""]), "invalid_request", "continuations[1]"),
        (Score("s", "tiny", [5] * 200, [[6] * 100]), "invalid_request", "continuations[0]"),
        (Generate("g", "tiny", prompt="\ud800"), "invalid_request", "prompt"),
    ],
)
async def test_bad_input_is_refused_by_name(
    engine: Engine, question: Embed | Score | Generate, code: str, field: str
) -> None:
    with pytest.raises(StreaminferError) as refusal:
        await asyncio.wait_for(ask(engine, question), 30)
    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert engine.model("tiny").active == 0
    assert engine.health().status == "ok"
