"""Every call, against an engine in this process and against a real server."""

import asyncio
import gc
import itertools
import threading
from typing import Any

import numpy as np
import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client, connect
from jupyter_streaminfer.client.connect import embedded
from jupyter_streaminfer.protocol import ChatMessage, Deadlines, Generate, StreaminferError

WAIT_S = 60


def test_models(client: Client) -> None:
    assert {"tiny", "digits"} <= {model.name for model in client.models()}
    status = client.model("tiny")
    assert status.state == "ready"
    assert status.info is not None
    assert status.info.task == "generate"


def test_loading_again_waits_for_nothing(client: Client) -> None:
    assert client.load("digits").loaded_ms == client.model("digits").loaded_ms


def test_a_relative_folder_is_the_callers(client: Client, tiny_llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_llama.parent)
    status = client.load("relative", tiny_llama.name)
    assert status.path == str(tiny_llama.resolve())
    client.unload("relative")
    assert "relative" not in {model.name for model in client.models()}


def test_generate_returns_before_the_end(client: Client) -> None:
    stream = client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
    assert not stream.done
    assert stream.id
    assert stream.epoch
    assert stream.id in {status.stream for status in client.streams() if status.state == "open"}
    stream.cancel()
    stream.wait(WAIT_S)
    assert stream.state == "cancelled"
    assert stream.error is None


def test_cancel_by_id(client: Client) -> None:
    stream = client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
    client.cancel(stream.id)
    assert stream.wait(WAIT_S).state == "cancelled"


def test_the_same_seed_gives_the_same_text(client: Client) -> None:
    first, second = (client.generate("tiny", "The quick", max_tokens=32, seed=7, ignore_eos=True) for _ in range(2))
    assert first.wait(WAIT_S).text == second.wait(WAIT_S).text
    assert first.retry().wait(WAIT_S).token_ids == first.token_ids


def test_the_same_seed_gives_the_same_text_here_and_there(embedded_client: Client, server_client: Client) -> None:
    here, there = (
        each.generate("tiny", "The quick", max_tokens=32, seed=7, ignore_eos=True).wait(WAIT_S)
        for each in (embedded_client, server_client)
    )
    assert here.token_ids == there.token_ids
    assert here.text == there.text


def test_token_ids_of_numpy(client: Client) -> None:
    plain = client.generate("tiny", token_ids=[5, 6, 7], max_tokens=8, temperature=0, ignore_eos=True)
    array = client.generate("tiny", token_ids=np.array([5, 6, 7]), max_tokens=8, temperature=0, ignore_eos=True)
    assert plain.wait(WAIT_S).token_ids == array.wait(WAIT_S).token_ids


EVERYTHING: dict[str, Any] = {
    "temperature": 0.5,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "logit_bias": {5: 1.5},
    "stop": ["never said"],
    "stop_token_ids": [9],
    "min_tokens": 2,
    "logprobs": 3,
    "seed": 7,
    "priority": 1,
    "chunk_tokens": 2,
    "ignore_eos": True,
    "max_tokens": 4,
    "deadlines": Deadlines(total_ms=60_000.0),
    "key": "user 7",
}


def test_every_field_of_a_request_has_its_keyword(client: Client) -> None:
    stream = client.generate("tiny", "The", **EVERYTHING)
    assert stream.wait(WAIT_S).state == "completed"
    assert stream.request is not None
    assert {name: getattr(stream.request, name) for name in EVERYTHING} == EVERYTHING
    given = {"id", "model", "prompt", "messages", "token_ids", "detached", *EVERYTHING}
    assert given == set(stream.request.__struct_fields__), "a field that the client cannot be given"


def test_one_stop_text_needs_no_list(client: Client) -> None:
    stream = client.generate("tiny", "The", stop="never said", max_tokens=2)
    assert stream.request is not None
    assert stream.request.stop == ["never said"]


def test_a_deadline_for_the_whole_ends_it_in_order(client: Client) -> None:
    stream = client.generate("tiny", "The", max_tokens=ENDLESS, seed=5, ignore_eos=True, deadlines={"total_ms": 300})
    assert stream.wait(WAIT_S).state == "incomplete"
    assert stream.finish_reason == "deadline"
    assert stream.error is None
    assert stream.usage is not None
    assert stream.usage.completion_tokens == len(stream.token_ids) > 0
    rest = stream.resume()
    tokens = next(delta.token_ids for delta in rest if delta.token_ids)
    rest.cancel()
    whole = client.generate(
        "tiny", "The", max_tokens=len(stream.token_ids) + len(tokens), seed=5, ignore_eos=True
    ).wait(WAIT_S)
    assert whole.token_ids == stream.token_ids + tokens


def test_a_cancelled_stream_goes_on_where_it_was(client: Client) -> None:
    part = client.generate("tiny", "The quick", max_tokens=ENDLESS, seed=9, ignore_eos=True)
    next(iter(part))
    part.cancel()
    assert part.wait(WAIT_S).state == "cancelled"
    rest = part.resume()
    next(iter(rest))
    rest.cancel()
    assert rest.wait(WAIT_S).state == "cancelled"
    tokens = part.token_ids + rest.token_ids
    whole = client.generate("tiny", "The quick", max_tokens=len(tokens), seed=9, ignore_eos=True).wait(WAIT_S)
    assert whole.token_ids == tokens
    assert whole.text.startswith(rest.full_text.rstrip("\N{REPLACEMENT CHARACTER}"))
    with pytest.raises(StreaminferError, match="complete"):
        whole.resume()


def test_metrics(client: Client) -> None:
    before = client.metrics()
    stream = client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
    during = client.metrics()
    assert during.admitted == before.admitted + 1
    assert during.streams_open >= 1
    stream.cancel()


def test_a_placement_is_what_the_model_then_has(client: Client, tiny_llama: Any) -> None:
    assert client.load("placed", tiny_llama, placement="thread").placement == "thread"
    client.unload("placed")
    with pytest.raises(StreaminferError) as raised:
        client.load("placed", tiny_llama, placement="moon")  # type: ignore[arg-type]
    assert raised.value.field == "placement"


def test_chunks_of_a_fixed_size_and_log_probabilities(client: Client) -> None:
    stream = client.generate("tiny", "The", max_tokens=10, chunk_tokens=4, logprobs=2, seed=1, ignore_eos=True)
    sizes = [len(delta.token_ids) for delta in stream if delta.token_ids]
    assert sum(sizes) == 10
    assert all(size % 4 == 0 for size in sizes[:-1]), "merged ones are whole chunks"
    assert [token.token_id for token in stream.logprobs] == stream.token_ids
    assert all(len(token.top) == 2 for token in stream.logprobs)


def test_several_streams_of_one_prompt(client: Client) -> None:
    streams = client.generate("tiny", "The quick", n=3, seed=7, max_tokens=24, ignore_eos=True)
    alone = [client.generate("tiny", "The quick", seed=7 + index, max_tokens=24, ignore_eos=True) for index in range(3)]
    assert [stream.wait(WAIT_S).token_ids for stream in streams] == [each.wait(WAIT_S).token_ids for each in alone]
    assert len({stream.id for stream in streams}) == 3
    [single] = client.generate("tiny", "The quick", n=1, max_tokens=2)
    assert single.wait(WAIT_S).state == "completed"


@pytest.mark.parametrize("n", [0, 17, 10**6, -1, "two", 1.5])
def test_a_number_of_streams_that_cannot_be(client: Client, n: Any) -> None:
    with pytest.raises(StreaminferError, match="from 1 to 16") as raised:
        client.generate("tiny", "The", n=n)
    assert raised.value.field == "n"


def test_several_streams_are_started_all_or_none(client: Client) -> None:
    before = {status.stream for status in client.streams()}
    with pytest.raises(StreaminferError, match="nope"):
        client.generate("nope", "The", n=3)
    assert {status.stream for status in client.streams()} <= before


def test_one_refusal_ends_the_streams_that_had_begun(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = client._transport.generate
    asked, begun, both = itertools.count(), list[Any](), asyncio.Event()

    async def refuse_the_third(request: Generate, sink: Any) -> None:
        if next(asked) == 2:
            await both.wait()
            raise StreaminferError("overloaded", "enough")
        await generate(request, sink)
        begun.append(sink)
        if len(begun) == 2:
            both.set()

    monkeypatch.setattr(client._transport, "generate", refuse_the_third)
    with pytest.raises(StreaminferError, match="enough"):
        client.generate("tiny", "The", n=3, max_tokens=ENDLESS, ignore_eos=True)
    assert [stream.wait(WAIT_S).state for stream in begun] == ["cancelled"] * 2


BAD: list[dict[str, Any]] = [
    {"model": "nope", "prompt": "x"},
    {"model": "digits", "prompt": "x"},
    {"model": "tiny"},
    {"model": "tiny", "prompt": "x", "token_ids": [1]},
    {"model": "tiny", "prompt": "x", "temperature": float("nan")},
    {"model": "tiny", "prompt": "x", "max_tokens": 0},
    {"model": "tiny", "prompt": "x", "max_tokens": "many"},
    {"model": "tiny", "prompt": "x", "top_p": 0.0},
    {"model": "tiny", "prompt": "x", "seed": -1},
    {"model": "tiny", "prompt": "x", "min_p": 2.0},
    {"model": "tiny", "prompt": "x", "logit_bias": {5: 1e9}},
    {"model": "tiny", "prompt": "x", "stop": ["x"] * 5000},
    {"model": "tiny", "prompt": "x", "logprobs": 21},
    {"model": "tiny", "prompt": 3},
    {"model": "tiny", "prompt": "x", "deadlines": {"total_ms": 0}},
    {"model": "tiny", "prompt": "x", "deadlines": {"lunch_ms": 5}},
    {"model": "tiny", "token_ids": []},
    {"model": "tiny", "token_ids": [10**9]},
    {"model": "tiny", "token_ids": [5] * 300_000},
    {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]},
    {"model": "tiny", "messages": [ChatMessage("user", "hi")]},
    {"model": "tiny", "messages": [{"role": "user"}]},
]


def refusal(client: Client, options: dict[str, Any]) -> StreaminferError:
    with pytest.raises(StreaminferError) as raised:
        client.generate(**options)
    return raised.value


@pytest.mark.parametrize("options", BAD, ids=lambda options: ",".join(map(str, options.values()))[:40])
def test_the_same_refusal_here_and_there(
    options: dict[str, Any], embedded_client: Client, server_client: Client
) -> None:
    here, there = refusal(embedded_client, options), refusal(server_client, options)
    assert here.info == there.info
    assert here.code in ("invalid_request", "model_not_found")
    assert here.field


def test_a_wrong_name_is_told_the_right_ones(client: Client) -> None:
    with pytest.raises(StreaminferError, match=r"digits.*tiny") as raised:
        client.generate("tinny", "x")
    assert raised.value.code == "model_not_found"


def test_other_refusals(client: Client) -> None:
    for call in (
        lambda: client.attach("st_nowhere"),
        lambda: client.cancel("st_nowhere"),
        lambda: client.model("a/b ?"),
        lambda: client.unload("nope"),
        lambda: client.load("nope"),
        lambda: client.load("x", "/nowhere/at/all"),
        lambda: client.predict("digits", [[1.0, 2.0]]),
        lambda: client.predict("digits", []),
        lambda: client.predict("digits", 3.0),
        lambda: client.predict("digits", np.full((1, 8, 8), np.nan)),
        lambda: client.predict("nope", [[1.0]]),
    ):
        with pytest.raises(StreaminferError) as raised:
            call()
        assert raised.value.code in ("invalid_request", "model_not_found", "stream_not_found"), raised.value


def test_predict(client: Client) -> None:
    info = client.model("digits").info
    assert info is not None
    images = np.random.default_rng(0).uniform(0, 16, (3, *info.input_shape))
    predictions = client.predict("digits", images)
    assert len(predictions) == 3
    assert set(predictions.labels) <= set(info.labels)
    assert [prediction.label for prediction in predictions] == predictions.labels
    assert ((predictions.confidences > 0) & (predictions.confidences <= 1)).all()


def test_attach_reads_a_stream_from_its_start(client: Client, server: Any) -> None:
    stream = client.generate("tiny", "The", max_tokens=40, seed=1, ignore_eos=True, detached=True)
    other = embedded() if client.url is None else connect(server.url, server.token)
    with other:
        copy = other.attach(stream.id)
        assert copy.wait(WAIT_S).text == stream.wait(WAIT_S).text
        assert copy.token_ids == stream.token_ids
        assert copy.epoch == stream.epoch
        with pytest.raises(StreaminferError, match="generate"):
            copy.retry()


def test_attaching_to_what_is_read_already(client: Client) -> None:
    """One connection cannot read one stream twice, for events name the stream and not the reading: it is shared."""
    stream = client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
    assert client.attach(stream.id) is stream
    stream.cancel()


def test_many_threads_share_one_client(client: Client) -> None:
    texts: dict[int, str] = {}

    def ask(seed: int) -> None:
        texts[seed] = client.generate("tiny", "The", max_tokens=16, seed=seed, ignore_eos=True).wait(WAIT_S).text

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    alone = {seed: client.generate("tiny", "The", max_tokens=16, seed=seed, ignore_eos=True) for seed in range(12)}
    assert texts == {seed: stream.wait(WAIT_S).text for seed, stream in alone.items()}


async def test_every_call_works_inside_a_running_loop(client: Client) -> None:
    """A notebook's cell runs inside the kernel's loop, where asyncio.run and run_until_complete are errors."""
    assert asyncio.get_running_loop().is_running()
    assert client.health().status == "ok"
    assert client.generate("tiny", "The", max_tokens=4, ignore_eos=True).wait(WAIT_S).state == "completed"


def test_a_listener_that_waits_for_its_own_thread_is_told(client: Client) -> None:
    """Waiting for the I/O thread on the I/O thread would be a deadlock."""
    raised: list[Exception] = []
    seen = threading.Event()

    def listen(stream: Any) -> None:
        try:
            client.health()
        except RuntimeError as error:
            raised.append(error)
        seen.set()

    stream = client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
    stream.add_listener(listen)
    assert seen.wait(WAIT_S)
    assert "I/O thread" in str(raised[0])
    stream.cancel()


def test_a_closed_client_says_so(server: Any) -> None:
    client = connect(server.url, server.token)
    stream = client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match=r"connect\(\)"):
        client.models()
    with pytest.raises(StreaminferError, match="closed"):
        stream.wait(WAIT_S)
    assert stream.state == "lost"


def test_a_dropped_client_ends_its_thread(server: Any) -> None:
    client = connect(server.url, server.token)
    stream = client.generate("tiny", "The", max_tokens=4).wait(WAIT_S)
    thread = client._io._thread
    del client, stream
    gc.collect()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_embedded_clients_share_one_engine(embedded_client: Client) -> None:
    with embedded() as other:
        assert {"tiny", "digits"} <= {model.name for model in other.models()}
    assert embedded_client.health().status == "ok"


def test_a_repr_tells_where(client: Client) -> None:
    assert repr(client) == (f"<Client {client.url}>" if client.url else "<Client embedded>")
