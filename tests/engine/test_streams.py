"""Which streams are kept, and which are forgotten for others."""

import time

import pytest

from jupyter_streaminfer.engine import EngineConfig, Stream
from jupyter_streaminfer.engine.streams import StreamTable
from jupyter_streaminfer.protocol import Generate, StreaminferError


def kept(table: StreamTable) -> list[str]:
    return [stream.id for stream in table]


def add(table: StreamTable, id: str, characters: int, *, closed: bool) -> Stream:
    stream = Stream(id, Generate("g", "m", prompt="x"), "1", time.monotonic())
    table.add(stream)
    stream.append([1], "x" * characters)
    if closed:
        stream.complete("stop")
        table.closed(stream)
    return stream


async def test_those_that_closed_first_are_forgotten_when_the_logs_take_too_much() -> None:
    table = StreamTable(EngineConfig(max_log_bytes=3000), lambda stream: None)
    late = add(table, "late", 1000, closed=False)
    add(table, "early", 1000, closed=True)
    late.complete("stop")
    table.closed(late)
    add(table, "open", 1000, closed=False)
    assert table.open == 1
    assert table.log_bytes == sum(stream.log.nbytes for stream in table) > 3000
    table.make_room(0)
    assert kept(table) == ["late", "open"]
    assert table.log_bytes == sum(stream.log.nbytes for stream in table) <= 3000
    table.clear()
    assert (table.open, table.log_bytes, len(table)) == (0, 0, 0)


async def test_open_streams_that_take_too_much_let_no_other_in() -> None:
    table = StreamTable(EngineConfig(max_log_bytes=3000), lambda stream: None)
    add(table, "closed", 100, closed=True)
    add(table, "open", 4000, closed=False)
    with pytest.raises(StreaminferError) as refusal:
        table.make_room(0)
    assert (refusal.value.code, refusal.value.info.retryable) == ("overloaded", True)
    assert kept(table) == ["open"]
    table.clear()
