"""Odd streams: found when they are, told once, and never for what is usual."""

from collections import Counter

from samples import row, sample, spread

from jupyter_streaminfer.engine.cursor import Cursor
from jupyter_streaminfer.engine.oddities import (
    FIRST_STALL_S,
    LOOK_S,
    MAX_MODELS,
    SEARCHED,
    STALL_S,
    STALL_TIMES,
    Oddities,
)
from jupyter_streaminfer.engine.stream import Stream
from jupyter_streaminfer.engine.usual import ENOUGH, KEPT, UsualLength
from jupyter_streaminfer.protocol import Generate, Metrics, Run


class Looked:
    """Some open streams, looked at once a second."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or sample()
        self.oddities = Oddities()
        self.streams: list[Stream] = []
        self.now = 0.0

    def stream(self, model: str = "m", *, started: bool = True) -> tuple[Stream, Cursor]:
        """One more, and a reader of it."""
        id = f"st_{len(self.streams)}"
        stream = Stream(id, Generate(id, model, prompt="a"), "1", 0.0)
        self.streams.append(stream)
        if started:
            stream.start(0.0)
        return stream, stream.cursor()

    def look(self, seconds: float = 1.0) -> None:
        """Once each second."""
        for _ in range(round(seconds)):
            self.now += 1.0
            self.oddities.look([each for each in self.streams if not each.closed], self.metrics, self.now)

    def completed(self, *tokens: int, reason: str = "stop", model: str = "m") -> Stream:
        """Streams with so many tokens; the last of them."""
        for count in tokens:
            stream = Stream("st", Generate("g", model, prompt="a"), "1", 0.0)
            stream.append(list(range(count)), "")
            stream.complete(reason)  # type: ignore[arg-type]
            self.oddities.ended(stream)
        return stream


def codes(cursor: Cursor) -> list[str]:
    return [notice.code for notice in cursor.take_notices()]


def test_a_repetition_is_told_once() -> None:
    looked = Looked()
    stream, reader = looked.stream()
    stream.append(list(range(500)), "")
    looked.look()
    assert stream.odd == []
    stream.append([1, 2, 3] * 16, "")
    looked.look()
    stream.append([1, 2, 3] * 16, "")
    looked.look(3)
    [notice] = reader.take_notices()
    assert (notice.code, notice.stream) == ("repeating", stream.id)
    assert "3 tokens" in notice.message
    assert "repetition_penalty" in notice.message
    assert stream.status().odd == ["repeating"]
    assert looked.oddities.counts == Counter(repeating=1)


def test_many_streams_are_searched_in_turn() -> None:
    looked = Looked()
    streams = [looked.stream()[0] for _ in range(3 * SEARCHED)]
    for _ in range(3):
        for stream in streams:
            stream.append([1] * 50, "")
        before = looked.oddities.counts["repeating"]
        looked.look()
        assert looked.oddities.counts["repeating"] == before + SEARCHED, "so much, and no more, at each look"
    assert all(stream.odd == ["repeating"] for stream in streams)


def test_a_stall_is_longer_than_its_models_tokens_take() -> None:
    usual_s = 1.0
    looked = Looked(sample(row("m", itl_ms=spread(1000 * usual_s)), row("n", itl_ms=spread(1.0)), row("n", "2")))
    slow, slow_reader = looked.stream("m")
    fast, fast_reader = looked.stream("n@1")
    for stream in (slow, fast):
        stream.append([1], "")
    looked.look(STALL_S + 1)
    assert (slow.odd, fast.odd) == ([], [])
    looked.look()
    assert (slow.odd, fast.odd) == ([], ["stalled"])
    looked.look(STALL_TIMES * usual_s)
    assert slow.odd == ["stalled"]
    fast.append([2], "")
    looked.look(3 * STALL_S)
    assert (codes(slow_reader), codes(fast_reader)) == (["stalled"], ["stalled"])
    assert looked.oddities.counts == Counter(stalled=2)


def test_what_waits_does_not_stall() -> None:
    looked = Looked()
    queued, _ = looked.stream(started=False)
    paused, _ = looked.stream()
    paused.append([1], "")
    paused.paused = True
    prefilling, _ = looked.stream()
    looked.look(FIRST_STALL_S)
    assert [stream.odd for stream in looked.streams] == [[], [], []]
    looked.look(2)
    assert (queued.odd, paused.odd, prefilling.odd) == ([], [], ["stalled"])
    paused.paused = False
    looked.look(STALL_S)
    assert paused.odd == [], "its time begins when it goes on"
    looked.look()
    assert paused.odd == ["stalled"]


def test_a_loop_that_stood_still_is_no_streams_fault() -> None:
    looked = Looked()
    stream, _ = looked.stream()
    stream.append([1], "")
    looked.look()
    looked.now += 3600
    looked.look()
    assert stream.odd == []
    looked.look(STALL_S - LOOK_S + 1)
    assert stream.odd == ["stalled"]


def test_a_long_stream_is_far_beyond_the_others() -> None:
    looked = Looked()
    stream, reader = looked.stream("m@1")
    stream.append(list(range(401)), "")
    looked.completed(*[100] * (ENOUGH - 1))
    looked.look()
    assert stream.odd == [], "too few to say what is usual"
    looked.completed(100)
    looked.look()
    assert stream.odd == ["long"]
    [notice] = reader.take_notices()
    assert "401 tokens" in notice.message
    other, _ = looked.stream()
    other.append(list(range(400)), "")
    looked.look()
    assert other.odd == []


def test_a_few_tokens_are_never_long() -> None:
    looked = Looked()
    looked.completed(*[3] * ENOUGH)
    stream, _ = looked.stream()
    stream.append(list(range(200)), "")
    looked.look()
    assert stream.odd == []
    stream.append([200], "")
    looked.look()
    assert stream.odd == ["long"]


def test_a_run_is_long_by_its_values() -> None:
    looked = Looked()
    looked.completed(*[3] * ENOUGH)
    run = Stream("st_r", Run("r", "m", b"0"), "1", 0.0)
    run.start(0.0)
    looked.streams.append(run)
    for index in range(201):
        run.add(str(index))
    reader = run.cursor()
    looked.look()
    assert run.odd == ["long"]
    assert "201 values" in reader.take_notices()[0].message


def test_a_short_stream_stopped_far_before_the_others() -> None:
    looked = Looked()
    assert looked.completed(*[100] * (ENOUGH - 1), 2).odd == [], "too few to say what is usual"
    assert looked.completed(10).odd == []
    assert looked.completed(9, reason="length").odd == [], "it was asked to be"
    assert looked.completed(9).odd == ["short"]
    assert looked.completed(1, model="n").odd == []
    assert looked.oddities.counts == Counter(short=1)


def test_where_all_are_short_none_is() -> None:
    looked = Looked()
    assert looked.completed(*[19] * ENOUGH, 1).odd == []
    assert looked.completed(*[20] * 2 * ENOUGH, 1).odd == ["short"]


def test_only_what_came_to_its_own_end_says_what_is_usual() -> None:
    looked = Looked()
    for _ in range(2 * ENOUGH):
        stream = Stream("st", Generate("g", "m", prompt="a"), "1", 0.0)
        stream.append(list(range(100)), "")
        stream.cancel("client")
        looked.oddities.ended(stream)
    assert looked.completed(1).odd == []


def test_what_is_remembered_is_bounded() -> None:
    looked = Looked()
    for index in range(MAX_MODELS + 10):
        looked.completed(5, model=f"m{index}")
    assert len(looked.oddities._usual) == MAX_MODELS
    stream, _ = looked.stream()
    looked.look()
    assert set(looked.oddities._watched) == {stream.id}
    stream.cancel("client")
    looked.oddities.ended(stream)
    assert not looked.oddities._watched


def test_the_usual_is_that_of_the_latest() -> None:
    usual = UsualLength()
    for _ in range(KEPT):
        usual.add(1000)
    for tokens in range(1, KEPT + 1):
        usual.add(tokens)
    assert [usual.quantile(part) for part in (0.005, 0.5, 0.95, 1.0)] == [1, KEPT // 2, KEPT * 95 // 100, KEPT]
