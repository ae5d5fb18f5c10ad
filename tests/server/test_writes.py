"""The connections' turn to write."""

import asyncio
import logging

import pytest

from jupyter_streaminfer.server.writes import Writes


async def test_one_that_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    writes, written, all_written = Writes(), list[str](), asyncio.Event()

    def fail() -> None:
        raise RuntimeError("at fault")

    writes.add(lambda: written.append("first"))
    writes.add(fail)
    writes.add(lambda: (written.append("last"), writes.add(all_written.set)))
    assert not written
    with caplog.at_level(logging.ERROR):
        await asyncio.wait_for(all_written.wait(), 10)
    assert written == ["first", "last"]
    assert "at fault" in caplog.text
