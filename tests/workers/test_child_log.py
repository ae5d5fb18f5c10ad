"""A process that writes without end: its lines are bounded in length and in number, and no thread is held."""

import io
import logging

import pytest

from jupyter_streaminfer.workers.child_log import MAX_LINE_BYTES, MAX_LINES_PER_S, TAIL_LINES, ChildLog


def read(data: bytes, caplog: pytest.LogCaptureFixture) -> tuple[list[str], ChildLog]:
    child = ChildLog("m")
    with caplog.at_level(logging.WARNING, "jupyter_streaminfer.worker"):
        child.read(io.BytesIO(data))
    return [record.getMessage() for record in caplog.records], child


def test_many_lines_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    lines, child = read(b"".join(b"line %d\n" % index for index in range(20_000)), caplog)
    left_out = sum(int(line.split("(")[1].split()[0]) for line in lines if "left out" in line)
    written = [line for line in lines if "left out" not in line]
    assert len(written) + left_out == 20_000
    assert left_out > 0
    assert len(written) >= MAX_LINES_PER_S
    assert child.tail().split(" | ") == [f"line {index}" for index in range(20_000 - TAIL_LINES, 20_000)]


def test_a_long_line_is_cut_and_the_next_one_is_whole(caplog: pytest.LogCaptureFixture) -> None:
    exact = b"e" * (MAX_LINE_BYTES - 1)
    lines, _ = read(b"x" * 50_000 + b"\n" + exact + b"\n\n" + b"tail without end", caplog)
    assert lines == ["m: " + "x" * MAX_LINE_BYTES + " ...", "m: " + exact.decode(), "m: tail without end"]


def test_a_line_steers_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    lines, _ = read(b"\x1b[31mred\x07\rWARNING forged \xff caf\xc3\xa9\n", caplog)
    assert lines == ["m: ?[31mred??WARNING forged \N{REPLACEMENT CHARACTER} café"]
