"""What the OpenAI door writes, whole and in chunks, as OpenAI's own types read it."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion, CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from jupyter_streaminfer.engine import Stream
from jupyter_streaminfer.protocol import Completed, Generate, TokenLogprobs, TopLogprob
from jupyter_streaminfer.server.openai.chat import ChatForm
from jupyter_streaminfer.server.openai.completions import CompletionForm
from jupyter_streaminfer.server.openai.form import Form

TOKENS = [
    TokenLogprobs(5, "né", -0.5, [TopLogprob(5, "né", -0.5), TopLogprob(6, "a", -1.0)]),
    TokenLogprobs(7, "\ufffd", -2.0, [TopLogprob(8, "b", -0.1), TopLogprob(9, "c", float("-inf"))]),
    TokenLogprobs(10, "!", -3.0, []),
]


def make_stream(logprobs: int | None = None) -> Stream:
    return Stream("st_1", Generate("openai", "m", prompt="x", logprobs=logprobs), "1", time.monotonic())


def written(form: Form, stream: Stream, index: int = 0) -> list[bytes]:
    """The data of each event of a closed stream's log, delta by delta."""
    parts = [form.delta(index, stream.delta(seq, seq)) for seq in range(stream.deltas)]
    assert isinstance(stream.terminal, Completed)
    text = b"".join([*parts, form.finish(index, stream.terminal), form.end()])
    assert text.endswith(b"\n\n")
    events = text[:-2].split(b"\n\n")
    assert all(each.startswith(b"data: ") for each in events)
    *data, done = (each.removeprefix(b"data: ") for each in events)
    assert done == b"[DONE]"
    return data


@given(texts=st.lists(st.text(max_size=5), max_size=6), with_usage=st.booleans())
def test_chunks_put_together_are_the_whole(texts: list[str], with_usage: bool) -> None:
    """Any text: quotes, line ends and emoji must not break the events that they stand in."""
    stream = make_stream()
    for text in texts:
        stream.append([1], text)
    stream.complete("stop")
    chunks = [msgspec.json.decode(each) for each in written(CompletionForm([stream], 1, with_usage), stream)]
    whole = Completion.model_validate(CompletionForm([stream], 1, False).whole())
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["text"] for choice in choices) == whole.choices[0].text == stream.text
    assert [choice["finish_reason"] for choice in choices] == [None] * len(texts) + ["stop"]
    assert whole.choices[0].finish_reason == "stop"
    if with_usage:
        assert CompletionUsage.model_validate(chunks[-1]["usage"]) == whole.usage

    parts = [
        ChatCompletionChunk.model_validate_json(each) for each in written(ChatForm([stream], 1, with_usage), stream)
    ]
    message = ChatCompletion.model_validate(ChatForm([stream], 1, False).whole())
    deltas = [choice.delta for part in parts for choice in part.choices]
    assert "".join(delta.content or "" for delta in deltas) == message.choices[0].message.content == stream.text
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert parts[-1].usage == (message.usage if with_usage else None)


@pytest.mark.parametrize("split", [[3], [1, 2], [1, 1, 1]])
def test_log_probabilities_of_a_completion(split: list[int]) -> None:
    stream = make_stream(logprobs=2)
    rest = TOKENS
    for count in split:
        stream.append([token.token_id for token in rest[:count]], "x" * count, rest[:count])
        rest = rest[count:]
    stream.append([], "held back")
    stream.complete("length")
    logprobs = Completion.model_validate(CompletionForm([stream], 1, False).whole()).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == ["né", "\ufffd", "!"]
    assert logprobs.token_logprobs == [-0.5, -2.0, -3.0]
    assert logprobs.top_logprobs == [{"né": -0.5, "a": -1.0}, {"b": -0.1, "c": -9999.0, "\ufffd": -2.0}, {"!": -3.0}]
    assert logprobs.text_offset == [0, 2, 3]
    chunks = [msgspec.json.decode(each) for each in written(CompletionForm([stream], 1, False), stream)]
    assert [chunk["choices"][0]["logprobs"] for chunk in chunks][-1] is None
    parts = [logprobs for chunk in chunks if (logprobs := chunk["choices"][0]["logprobs"])]
    assert [offset for part in parts for offset in part["text_offset"]] == [0, 2, 3]


def test_log_probabilities_of_a_chat() -> None:
    stream = make_stream(logprobs=2)
    stream.append([token.token_id for token in TOKENS], "né?!", TOKENS)
    stream.complete("stop")
    logprobs = ChatCompletion.model_validate(ChatForm([stream], 1, False).whole()).choices[0].logprobs
    assert logprobs is not None
    first, second, _ = logprobs.content or []
    assert (first.token, first.logprob, first.bytes) == ("né", -0.5, list("né".encode()))
    assert [(top.token, top.logprob) for top in first.top_logprobs] == [("né", -0.5), ("a", -1.0)]
    assert second.bytes is None, "a part of a character"
    assert second.top_logprobs[1].logprob == -9999.0
    [_, chunk, _] = written(ChatForm([stream], 1, False), stream)
    choice = ChatCompletionChunk.model_validate_json(chunk).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content == logprobs.content


def test_log_probabilities_of_an_empty_answer() -> None:
    stream = make_stream(logprobs=0)
    stream.complete("stop")
    whole = ChatCompletion.model_validate(ChatForm([stream], 1, False).whole())
    assert whole.choices[0].logprobs is not None
    assert whole.choices[0].logprobs.content == []


def test_a_prompt_counts_once_however_many_choices_it_has() -> None:
    streams = [make_stream() for _ in range(4)]
    for stream, cached in zip(streams, (3, 9, 4, 9), strict=True):
        stream.prompt_tokens = 10
        stream.start(0.0, cached)
        stream.append([1, 2], "ab")
        stream.complete("stop")
    usage = Completion.model_validate(CompletionForm(streams, 2, False).whole()).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (20, 8, 28)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 7
