import asyncio
import threading
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.protocol import Delta, TokenLogprobs

mpl.use("agg")
WAIT_S = 60


@pytest.fixture
def ended(client: Client) -> ClientStream:
    return client.generate("tiny", "The quick", max_tokens=48, seed=3, ignore_eos=True).wait(WAIT_S)


@pytest.fixture
def running(client: Client) -> Any:
    stream = client.generate("tiny", "The quick", max_tokens=ENDLESS, seed=3, ignore_eos=True)
    yield stream
    stream.cancel()


def test_iterating_twice_gives_the_same(client: Client) -> None:
    stream = client.generate("tiny", "The quick", max_tokens=48, seed=3, ignore_eos=True)
    first = list(stream)
    assert list(stream) == first
    assert "".join(delta.text for delta in first) == stream.text
    assert [token for delta in first for token in delta.token_ids] == stream.token_ids
    assert len(stream.token_ids) == 48
    assert stream.done


def test_deltas_come_while_it_runs(running: ClientStream) -> None:
    for delta in running:
        assert len(delta.at_ms) == len(delta.token_ids)
        assert not running.done
        break
    assert running.usage is None
    assert running.timings is None
    assert running.text


async def test_async_iteration(client: Client) -> None:
    stream = client.generate("tiny", "The quick", max_tokens=48, seed=3, ignore_eos=True)
    first = [delta async for delta in stream]
    assert [delta async for delta in stream] == first == list(stream)


async def test_async_readers_do_not_block_the_loop(running: ClientStream) -> None:
    async def read() -> int:
        count = 0
        async for delta in running:
            count += len(delta.token_ids)
            if count > 20:
                break
        return count

    counts = await asyncio.wait_for(asyncio.gather(read(), read()), WAIT_S)
    assert min(counts) > 20


async def test_giving_up_an_async_reading_leaves_the_stream_alone(running: ClientStream) -> None:
    """Only an interrupt means the stream; a reader's own deadline is the reader's."""

    async def read() -> None:
        async for _ in running:
            pass

    task = asyncio.create_task(read())
    await anext(aiter(running))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running.client.attach(running.id).state == "open"


def test_threads_read_one_stream_together(client: Client) -> None:
    stream = client.generate("tiny", "The quick", max_tokens=64, seed=3, ignore_eos=True)
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append("".join(delta.text for delta in stream))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert texts == [stream.text] * 4


def test_waiting_not_long_enough(running: ClientStream) -> None:
    with pytest.raises(TimeoutError):
        running.wait(0.05)
    assert not running.done


def test_the_end(ended: ClientStream) -> None:
    assert ended.finish_reason == "length"
    assert ended.state == "completed"
    assert ended.error is None
    assert ended.usage is not None
    assert ended.usage.completion_tokens == 48
    timings = ended.timings
    assert timings is not None
    assert timings.ttft_ms is not None
    assert timings.queue_ms <= timings.ttft_ms <= timings.duration_ms
    assert timings.itl_ms is not None
    assert timings.itl_ms.p50 <= timings.itl_ms.p95 <= timings.itl_ms.p99
    assert timings.tokens_per_second == pytest.approx(48000 / timings.duration_ms, rel=0.01)
    assert "tokens/s" in repr(timings)


def test_frame(ended: ClientStream) -> None:
    frame = ended.to_frame()
    assert list(frame.columns) == ["seq", "token_id", "text", "at_ms", "itl_ms"]
    assert len(frame) == 48
    assert frame["token_id"].tolist() == ended.token_ids
    assert "".join(frame["text"]) == ended.text
    assert frame["seq"].is_monotonic_increasing
    assert pd.isna(frame["itl_ms"].iloc[0])
    assert (frame["itl_ms"].iloc[1:] >= 0).all()


def test_plot(ended: ClientStream, tmp_path: Any) -> None:
    figure = ended.plot()
    above, below = figure.axes
    assert len(above.lines[0].get_xdata()) == 48
    assert len(below.lines[0].get_xdata()) == 47
    figure.savefig(tmp_path / "stream.png")
    assert (tmp_path / "stream.png").stat().st_size > 1000


def test_a_stream_that_brought_nothing_yet_has_an_empty_frame_and_a_plot(embedded_client: Client) -> None:
    stream = ClientStream(embedded_client, None)
    assert stream.to_frame().empty
    assert len(stream.plot().axes) == 2
    assert repr(stream) == "<ClientStream open: ''>"


def test_repr_is_short_and_says_the_state(ended: ClientStream) -> None:
    text = repr(ended)
    assert text.startswith("<ClientStream tiny completed: ")
    assert len(text) < 400


def test_log_probabilities_are_put_together(embedded_client: Client) -> None:
    stream = ClientStream(embedded_client, None)
    assert stream.logprobs == []
    scores = [TokenLogprobs(token, "x", -1.0 * token, []) for token in range(3)]
    stream.events([Delta("st_1", 0, "xx", [0, 1], [1.0, 1.0], logprobs=scores[:2])])
    stream.events([Delta("st_1", 1, "x", [2], [2.0], logprobs=scores[2:]), Delta("st_1", 2, "!", [], [], logprobs=[])])
    assert stream.logprobs == scores


def test_listeners(client: Client) -> None:
    states: list[str] = []
    ended = threading.Event()

    def listen(stream: ClientStream) -> None:
        assert threading.current_thread() is not threading.main_thread()
        states.append(stream.state)
        if stream.done:
            ended.set()

    stream = client.generate("tiny", "The quick", max_tokens=ENDLESS, ignore_eos=True)
    remove = stream.add_listener(listen)
    silent: list[str] = []
    stream.add_listener(lambda stream: silent.append(stream.state))()
    stream.cancel()
    assert ended.wait(WAIT_S)
    assert states[-1] == "cancelled"
    assert states.count("cancelled") == 1
    assert not silent
    remove()
    remove()


def test_a_listener_that_fails_harms_nobody(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    def fail(stream: ClientStream) -> None:
        raise ValueError("listener at fault")

    stream = client.generate("tiny", "The quick", max_tokens=200, ignore_eos=True)
    stream.add_listener(fail)
    assert stream.wait(WAIT_S).state == "completed"
    assert "listener at fault" in caplog.text


def test_an_unloaded_model_ends_its_streams_with_an_error(client: Client, long_llama: Any) -> None:
    client.load("leaving", long_llama)
    stream = client.generate("leaving", "The quick", max_tokens=ENDLESS, ignore_eos=True)
    client.unload("leaving")
    with pytest.raises(Exception, match="unloaded"):
        stream.wait(WAIT_S)
    assert stream.state == "cancelled"
    with pytest.raises(Exception, match="unloaded"):
        list(stream)
