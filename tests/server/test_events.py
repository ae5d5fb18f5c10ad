"""Events in Jupyter's own event system: one for each stream's end and each change of an alert."""

import asyncio
import json
import logging
from typing import Any

import pytest
from jupyter_server.serverapp import ServerApp
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine, sampler
from jupyter_streaminfer.protocol import AlertRule, ErrorInfo, StreamStatus
from jupyter_streaminfer.server.app import StreaminferApp
from jupyter_streaminfer.server.events import ALERT, MAX_WAITING, STREAM_END, TURN, JupyterEvents

from .conftest import TIMEOUT_S
from .test_connection import GREEDY, is_terminal


class Told(logging.Handler):
    """Every event, as it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []
        self.more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(json.loads(self.format(record)))
        self.more.set()

    async def until(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.events) < count:
                self.more.clear()
                await self.more.wait()
        return self.events


@pytest.fixture
def told(jp_serverapp: ServerApp) -> Told:
    handler = Told()
    jp_serverapp.event_logger.register_handler(handler)
    return handler


def of(event: dict[str, Any], *fields: str) -> tuple[Any, ...]:
    return tuple(event[field] for field in fields)


async def test_each_stream_has_one(engine: Engine, told: Told, connect) -> None:
    socket = await connect()
    socket.send(**GREEDY, id="g", max_tokens=20)
    completed = (await socket.receive_until(is_terminal))[-1]
    socket.send(**{**GREEDY, "model": "tiny@1"}, id="h", max_tokens=ENDLESS)
    attached = (await socket.receive_until(lambda each: each["type"] == "delta"))[0]
    engine.cancel(attached["stream"])
    await socket.receive_until(is_terminal)
    first, second = await told.until(2)
    assert {event["__schema__"] for event in told.events} == {STREAM_END}
    assert of(first, "stream", "model", "version", "arm") == (completed["stream"], "tiny", "1", "")
    assert of(first, "state", "finish_reason", "error_code") == ("completed", "length", None)
    usage, timings = completed["usage"], completed["timings"]
    assert of(first, "tokens", "prompt_tokens") == (usage["completion_tokens"], usage["prompt_tokens"])
    assert {name: first[name] for name in timings} == timings
    assert of(second, "stream", "model", "state") == (attached["stream"], "tiny", "cancelled")
    assert second["finish_reason"] == "client"
    status = next(each for each in engine.streams() if each.stream == attached["stream"])
    assert of(second, "tokens", "itl_mean_ms", "duration_ms") == (
        status.tokens,
        status.itl_mean_ms,
        status.duration_ms,
    )
    assert "a b" not in json.dumps(told.events), "no prompt"
    assert engine.stream(completed["stream"]).text not in json.dumps(told.events), "no text"


async def test_an_alert_has_one_as_it_begins_and_one_as_it_ends(
    engine: Engine, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "INTERVAL_S", 0.05)
    engine.set_alerts([AlertRule("memory_bytes", 0.0, name="much")])
    await told.until(1)
    engine.set_alerts([])
    begun, ended = await told.until(2)
    assert begun["__schema__"] == ended["__schema__"] == ALERT
    assert of(begun, "name", "metric", "model", "above", "firing") == ("much", "memory_bytes", None, 0.0, True)
    assert begun["value"] > 0
    assert of(ended, "name", "firing") == ("much", False)


def status(index: int) -> StreamStatus:
    error = ErrorInfo("internal", "a\nb <i>")
    return StreamStatus(
        str(index), "e", "m", "1", "failed", 0, 0, 0, detached=False, age_ms=1.0, duration_ms=1.0, error=error
    )


async def test_many_at_once_are_told_in_turns(app: StreaminferApp, told: Told) -> None:
    """And the loop comes to other things between them."""
    for index in range(10 * TURN):
        app._events.stream_ended(status(index))
    assert told.events == []
    counts = []
    while len(told.events) < 10 * TURN:
        counts.append(len(told.events))
        await asyncio.sleep(0)
    assert [after - before for before, after in zip(counts, [*counts[1:], 10 * TURN], strict=True)][1:] == [TURN] * 9
    assert [event["stream"] for event in told.events] == [str(index) for index in range(10 * TURN)]
    assert {event["error_code"] for event in told.events} == {"internal"}
    assert "<i>" not in json.dumps(told.events), "an error's message may quote what was asked"


async def test_what_waits_is_bounded_and_told_at_the_end(app: StreaminferApp, told: Told) -> None:
    for index in range(MAX_WAITING + 5):
        app._events.stream_ended(status(index))
    assert len(app._events._waiting) == MAX_WAITING
    for _ in range(MAX_WAITING - 3):
        app._events._waiting.popleft()
    await app.stop_extension()
    assert [event["stream"] for event in told.events] == [str(MAX_WAITING + each) for each in (2, 3, 4)]


async def test_one_that_cannot_be_told_stops_nothing(app: StreaminferApp, told: Told, caplog) -> None:
    class Failing:
        def register_event_schema(self, schema: object) -> None:
            """As the real one does."""

        def emit(self, **event: object) -> None:
            raise RuntimeError("no disk")

    events = JupyterEvents(Failing())  # type: ignore[arg-type]
    for index in range(2):
        events.stream_ended(status(index))
    events.flush()
    assert caplog.text.count("RuntimeError: no disk") == 2
