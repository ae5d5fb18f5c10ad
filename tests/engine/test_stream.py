"""The log and its cursors: whatever the split of reads, every reader sees the same dense sequence."""

import asyncio
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.engine import Cursor, Stream
from jupyter_streaminfer.protocol import (
    Completed,
    Delta,
    ErrorInfo,
    Event,
    Failed,
    Generate,
    StreaminferError,
    TokenLogprobs,
    Usage,
)


def make_stream(logprobs: int | None = None) -> Stream:
    return Stream("st_test", Generate("g1", "demo", prompt="x", logprobs=logprobs), "1", time.monotonic())


def scores(token_ids: list[int]) -> list[TokenLogprobs]:
    return [TokenLogprobs(token, "", -float(token), []) for token in token_ids]


class Reader:
    """Checks, as a client would, that what a cursor brings is dense, and puts it together."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.next = cursor.position + 1
        self.text = ""
        self.token_ids: list[int] = []
        self.at_ms: list[float] = []
        self.logprobs: list[TokenLogprobs] = []
        self.terminal: Event | None = None

    def read(self) -> None:
        for event in self.cursor.take():
            assert self.terminal is None
            assert event.seq == self.next
            if isinstance(event, Delta):
                self.next = (event.seq if event.last is None else event.last) + 1
                self.text += event.text
                self.token_ids += event.token_ids
                self.at_ms += event.at_ms
                assert (event.logprobs is None) == (self.cursor.stream.request.logprobs is None)
                self.logprobs += event.logprobs or []
            else:
                self.next += 1
                self.terminal = event


tokens = st.tuples(st.lists(st.integers(0, 2**31), max_size=3), st.text(max_size=4))


@given(
    deltas=st.lists(tokens, max_size=30),
    reads=st.lists(st.booleans(), min_size=30, max_size=30),
    scored=st.booleans(),
    data=st.data(),
)
def test_any_split_of_reads_gives_the_same_whole(deltas, reads, scored, data) -> None:
    stream = make_stream(logprobs=0 if scored else None)
    early = Reader(stream.cursor())
    late: list[Reader] = []
    for (token_ids, text), read in zip(deltas, reads, strict=False):
        stream.append(token_ids, text, scores(token_ids) if scored else None)
        if read:
            early.read()
        if data.draw(st.booleans()):
            late.append(Reader(stream.cursor(after=data.draw(st.integers(-1, stream.head - 1)))))
    stream.complete("stop")
    texts = [text for _, text in deltas]
    ids = [token_ids for token_ids, _ in deltas]
    for reader in [early, *late]:
        start = 0 if reader is early else reader.next
        reader.read()
        assert isinstance(reader.terminal, Completed)
        assert reader.cursor.done
        assert reader.next == stream.head == len(deltas) + 1
        assert reader.text == "".join(texts[start:])
        assert reader.token_ids == [token for each in ids[start:] for token in each]
        assert len(reader.at_ms) == len(reader.token_ids)
        assert reader.at_ms == sorted(reader.at_ms)
        assert reader.logprobs == (scores(reader.token_ids) if scored else [])


@given(deltas=st.lists(tokens, min_size=1, max_size=10), cut=st.integers(0, 9))
def test_frames_say_what_events_say(deltas, cut) -> None:
    stream = make_stream()
    framed, plain = stream.cursor(), stream.cursor()
    frames: list[bytes] = []
    events: list[Event] = []
    for index, (token_ids, text) in enumerate(deltas):
        stream.append(token_ids, text)
        if index % (cut + 1) == 0:
            frames += framed.take_frames()
            events += plain.take()
    stream.complete("length")
    frames += framed.take_frames()
    events += plain.take()
    assert [msgspec.json.decode(frame, type=Event) for frame in frames] == events


def test_tokens_of_one_delta_came_together() -> None:
    stream = make_stream()
    stream.start(0.0, cached_tokens=32)
    stream.start(0.0, cached_tokens=48)
    stream.append([1, 2, 3], "abc")
    stream.append([4], "d")
    stream.complete("stop")
    first, merged = stream.delta(0, 0), stream.delta(0, 1)
    assert len(set(first.at_ms)) == 1
    assert merged.at_ms[:3] == first.at_ms
    terminal = stream.terminal
    assert terminal is not None
    assert terminal.timings.ttft_ms == first.at_ms[0]
    assert terminal.usage == Usage(0, 4, 32), "only what it began with was cached"


def test_cursors_in_step_share_one_serialisation() -> None:
    stream = make_stream()
    cursors = [stream.cursor() for _ in range(3)]
    stream.append([1], "a")
    frames = [cursor.take_frames()[0] for cursor in cursors]
    assert all(frame is frames[0] for frame in frames)


def test_a_closed_stream_takes_no_second_terminal_event() -> None:
    stream = make_stream()
    stream.append([1], "a")
    stream.cancel("client")
    stream.complete("stop")
    stream.fail(ErrorInfo("internal", "late"))
    (delta, terminal) = stream.cursor().take()
    assert isinstance(delta, Delta)
    assert terminal.seq == 1
    assert stream.status().state == "cancelled"


def test_a_failed_stream_keeps_what_was_received() -> None:
    stream = make_stream()
    stream.append([5], "partial")
    stream.fail(ErrorInfo("worker_lost", "gone"))
    document = stream.document()
    assert document.text == "partial"
    assert isinstance(document.events[-1], Failed)
    assert document.events[-1].usage.completion_tokens == 1


@pytest.mark.parametrize(("after", "epoch", "field"), [(3, None, "after"), (0, "another", "epoch")])
def test_a_reading_that_could_not_be_whole_is_refused(after: int, epoch: str | None, field: str) -> None:
    stream = make_stream()
    stream.append([1], "a")
    with pytest.raises(StreaminferError) as refusal:
        stream.cursor(after=after, epoch=epoch)
    assert refusal.value.field == field
    assert stream.consumers == 0


async def test_iterating_waits_for_the_writer_and_ends_with_the_terminal_event() -> None:
    stream = make_stream()
    first = asyncio.Event()

    async def read() -> list[Event]:
        events = []
        async with stream.cursor() as cursor:
            async for event in cursor:
                events.append(event)
                first.set()
        return events

    reading = asyncio.create_task(read())
    stream.append([1], "a")
    await asyncio.wait_for(first.wait(), 5)
    stream.append([2], "b")
    stream.append([3], "c")
    stream.complete("stop")
    events = await asyncio.wait_for(reading, 5)
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "abc"
    assert isinstance(events[-1], Completed)
    assert stream.consumers == 0


def test_a_reader_who_joins_with_everything_read_is_not_made_to_wait_for_those_who_lag() -> None:
    stream = Stream("st_test", Generate("g1", "demo", prompt="x"), "1", time.monotonic(), window_tokens=10)
    stream.cursor()
    for token in range(12):
        stream.append([token], "a")
    assert stream.paused
    stream.cursor(after=0)
    assert stream.paused
    stream.cursor(after=11)
    assert not stream.paused


def test_a_cursor_may_leave_while_it_is_told() -> None:
    """A connection that dies in the middle of a step closes its cursors from inside the notification."""
    stream = make_stream()
    told = []
    leaving = stream.cursor(notify=lambda: leaving.close())
    stream.cursor(notify=lambda: told.append(True))
    stream.append([1], "a")
    stream.append([2], "b")
    assert told == [True, True]
    assert stream.consumers == 1
