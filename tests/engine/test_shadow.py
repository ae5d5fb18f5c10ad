"""Shadow traffic: copies that are compared, and that nobody who asked ever notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from predicting import predict
from telling_models import ROW, broken, telling, told

from jupyter_streaminfer.engine import Engine, EngineConfig
from jupyter_streaminfer.engine.shadow import INLINE_BYTES, LOWEST_PRIORITY, MAX_UNDER_WAY, Copy, ShadowTraffic
from jupyter_streaminfer.protocol import (
    Arm,
    OutputKind,
    Predict,
    Result,
    Route,
    Shadow,
    ShadowStatus,
    StreaminferError,
)

REFUSAL = StreaminferError("internal", "No.")


class Asked:
    """Requests whose answers, and those to their copies, come when the test says so."""

    def __init__(self, **shadow: Any) -> None:
        self.traffic = ShadowTraffic("m", Shadow("2", **shadow))
        self.heard: list[Any] = []

    def copy(self, kind: OutputKind = "embedding") -> tuple[Copy, Any]:
        """A copy that is sent, and what the original's answer is told to."""
        copy = Copy(self.traffic, kind, predict("p", "m", [[1.0]]))
        told = copy.watch(self.heard.append)
        assert copy.begin(ready=True)
        return copy, told

    @property
    def status(self) -> ShadowStatus:
        return self.traffic.status()


def answer(*rows: Any) -> Result:
    return Result("p", "m", "1", Raw(msgspec.json.encode(list(rows))))


@pytest.mark.parametrize("original_first", [True, False])
def test_both_answers_are_compared_whichever_comes_first(original_first: bool) -> None:
    asked = Asked(tolerance=0.01)
    copy, told = asked.copy()
    ends = [lambda: told(answer([1.0], [2.0])), lambda: copy.answered(answer([1.005], [3.0]))]
    for end in ends if original_first else reversed(ends):
        end()
    assert len(asked.heard) == 1, "the asker hears of the original alone"
    assert asked.status.compared == 2
    assert asked.status.agreement is not None
    assert asked.status.agreement.value == 0.5
    assert asked.status.largest_difference == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("original", "copied", "errors"),
    [
        (answer([1.0]), REFUSAL, 1),
        (answer([1.0]), StreaminferError("cancelled", "It was unloaded."), 0),
        (REFUSAL, answer([1.0]), 0),
        (REFUSAL, REFUSAL, 0),
    ],
)
def test_only_what_the_shadow_should_have_answered_is_its_error(original: Any, copied: Any, errors: int) -> None:
    asked = Asked()
    copy, told = asked.copy()
    told(original)
    copy.answered(copied)
    assert (asked.status.errors, asked.status.compared, asked.heard) == (errors, 0, [original])


def test_answers_of_another_kind_are_an_error() -> None:
    asked = Asked()
    copy, told = asked.copy("classes")
    told(answer({"label": "a", "confidence": 1.0, "scores": []}))
    copy.answered(answer([1.0]))
    assert (asked.status.errors, asked.status.compared) == (1, 0)


def test_no_more_are_under_way_than_may_be() -> None:
    asked = Asked()
    copies = [asked.copy()[0] for _ in range(MAX_UNDER_WAY)]
    late = Copy(asked.traffic, "values", predict("p", "m", [[1.0]]))
    assert not late.begin(ready=True)
    assert not late.begin(ready=False)
    assert asked.status.dropped == 2
    # The askers took theirs back, so those are never told; the places are free all the same.
    for copy in copies:
        copy.answered(REFUSAL)
    assert late.begin(ready=True)


async def test_long_answers_are_compared_beside_the_loop() -> None:
    asked = Asked()
    copy, told = asked.copy()
    told(answer([1.0] * INLINE_BYTES))
    copy.answered(answer([2.0] * INLINE_BYTES))
    assert asked.status.compared == 0
    async with asyncio.timeout(30):
        while not asked.status.compared:  # noqa: ASYNC110 (nobody is told when it is done)
            await asyncio.sleep(0.001)
    assert asked.status.largest_difference == 1.0


def test_a_copy_goes_behind_everything_and_has_no_deadline() -> None:
    original = predict("p", "m", [[1.0]], priority=5, deadline_ms=10.0, cache=True, key="k")
    copied = Copy(ShadowTraffic("m", Shadow("2")), "values", original).request
    assert (copied.priority, copied.deadline_ms, copied.cache) == (LOWEST_PRIORITY, None, False)
    assert bytes(copied.inputs) == bytes(original.inputs)


def test_a_part_is_copied_and_always_the_same() -> None:
    requests = [predict(f"p{number}", "m", [[float(number)]]) for number in range(4000)]
    first, again = ShadowTraffic("m", Shadow("2", 0.25)), ShadowTraffic("m", Shadow("2", 0.25))
    wanted = [first.wants(request) for request in requests]
    assert wanted == [again.wants(request) for request in requests]
    assert sum(wanted) == pytest.approx(1000, abs=110)
    assert all(ShadowTraffic("m", Shadow("2")).wants(request) for request in requests)


class TestInAnEngine:
    @pytest.fixture
    async def engine(self, tmp_path: Path) -> AsyncIterator[Engine]:
        engine = Engine(EngineConfig(max_wait_ms=0, max_pending_per_client=1))
        for number in range(3):
            await engine.load(
                "m", str(telling(tmp_path / str(number), number)), version=str(number), activate=number == 0
            )
        yield engine
        await engine.close()

    @staticmethod
    async def compared(engine: Engine, count: int) -> ShadowStatus:
        async with asyncio.timeout(30):
            while True:
                status = engine.routed("m").shadow
                assert status is not None
                if status.compared + status.errors + status.dropped >= count:
                    return status
                await asyncio.sleep(0.001)

    async def test_the_asker_gets_the_original_and_pays_for_it_alone(self, engine: Engine) -> None:
        engine.route("m", Route([Arm("0", 1.0)], shadow=Shadow("1")))
        for number in range(20):
            found = await engine.predict(predict(f"p{number}", "m", [ROW]), "me")
            assert (told(found), found.version) == (0, "0")
        status = await self.compared(engine, 20)
        assert (status.compared, status.errors, status.dropped) == (20, 0, 0)
        assert status.agreement is not None
        assert status.agreement.value == 0.0
        assert engine.metrics().admitted == 20
        assert engine.metrics().pending == 0
        assert engine.model("m@1").active == 0

    async def test_one_that_is_the_same_agrees(self, engine: Engine, tmp_path: Path) -> None:
        await engine.swap("m", str(tmp_path / "0"), version="same", activate=False)
        engine.route("m", Route([Arm("0", 1.0)], shadow=Shadow("same")))
        await engine.predict(predict("p", "m", [ROW, ROW]))
        status = await self.compared(engine, 2)
        assert status.agreement is not None
        assert (status.compared, status.agreement.value, status.largest_difference) == (2, 1.0, 0.0)

    async def test_one_that_cannot_answer_fails_nothing(self, engine: Engine, tmp_path: Path) -> None:
        with pytest.raises(StreaminferError):
            await engine.swap("m", str(broken(tmp_path / "broken")), version="broken", activate=False)
        engine.route("m", Route([Arm("0", 1.0)], shadow=Shadow("broken")))
        await engine.predict(predict("p", "m", [ROW]))
        assert (await self.compared(engine, 1)).dropped == 1
        assert engine.routed("m").waiting == ["broken"]

    async def test_whoever_names_a_version_is_not_copied(self, engine: Engine) -> None:
        engine.route("m", Route([Arm("0", 1.0)], shadow=Shadow("1")))
        await engine.predict(predict("p", "m@0", [ROW]))
        await engine.predict(predict("p", "m@latest", [ROW]))
        assert engine.model("m@1").requests == 0


def test_a_request_has_what_a_copy_takes_of_it() -> None:
    """A field that `Predict` gains is to be thought of in `Copy`."""
    fields = set(json.loads(msgspec.json.encode(predict("p", "m", [], deadline_ms=1.0, key="k"))))
    assert fields == {"type", "id", "model", "inputs", "priority", "deadline_ms", "cache", "key"}
    assert {field.name for field in msgspec.structs.fields(Predict)} | {"type"} == fields
