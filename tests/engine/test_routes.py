"""Routes of an engine: what one may be, that it outlives the engine, and that its figures are right."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from predicting import predict
from telling_models import ROW, telling, told

from jupyter_streaminfer.engine import Engine, EngineConfig
from jupyter_streaminfer.engine.route_files import MAX_FILE_BYTES, KeptRoute, RouteFiles
from jupyter_streaminfer.protocol import Arm, Canary, Generate, Route, Shadow, StreaminferError

SPLIT = Route([Arm("0", 0.7), Arm("1", 0.3)])


async def start(models: Path, **config: Any) -> Engine:
    """An engine with three versions of ``m``, each of which says its own name."""
    engine = Engine(EngineConfig(max_wait_ms=0, **config))
    for version in "012":
        await engine.load("m", str(models / version), version=version, activate=version == "0")
    return engine


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for number in range(3):
        telling(tmp_path / "models" / str(number), number)
    return tmp_path / "models"


@pytest.fixture
async def engine(models: Path) -> AsyncIterator[Engine]:
    engine = await start(models)
    yield engine
    await engine.close()


async def answers(engine: Engine, model: str = "m", users: int = 60) -> dict[str, str]:
    """Which version answers each user."""
    found = {}
    for number in range(users):
        answer = await engine.predict(predict("p", model, [ROW]), f"user {number}")
        assert str(told(answer)) == answer.version
        found[f"user {number}"] = answer.version
    return found


class TestWhatOneMayBe:
    @pytest.mark.parametrize(
        ("route", "field", "says"),
        [
            (Route([Arm("0", 0.5), Arm("1", 0.4)]), "arms", "the weights sum to 0.9; they must sum to 1"),
            (Route([Arm("0", 1.0), Arm("1", 1e-5)]), "arms", "1.00001"),
            (Route([Arm("0", 0.5), Arm("0", 0.5)]), "arms", "'0' more than once"),
            (Route([Arm("0", 0.5), Arm("7", 0.5)]), "arms", r"no version '7' \(versions: 0, 1, 2\)"),
            (Route([Arm("0", 1.0)], Canary("0", 0.1)), "canary.version", "an arm already"),
            (Route([Arm("0", 1.0)], Canary("7", 0.1)), "canary.version", "no version '7'"),
            (Route([Arm("0", 1.0)], shadow=Shadow("0")), "shadow.version", "answers requests itself"),
            (Route([Arm("0", 1.0)], Canary("1", 0.1), Shadow("1")), "shadow.version", "answers requests itself"),
            (Route([Arm("0", 1.0)], shadow=Shadow("7")), "shadow.version", "no version '7'"),
            (Route([]), "arms", "length >= 1"),
            (Route([Arm("0", float("nan"))]), "arms[0].weight", "float"),
            (Route([Arm("0", 2.0), Arm("1", -1.0)]), "arms[0].weight", "<= 1"),
            (Route([Arm("0", 1.0)], Canary("1", 1.0)), "canary.weight", "< 1"),
        ],
    )
    async def test_what_cannot_be_is_refused_by_name(self, engine: Engine, route: Route, field: str, says: str) -> None:
        engine.route("m", SPLIT)
        with pytest.raises(StreaminferError, match=says) as refusal:
            engine.route("m", route)
        assert (refusal.value.code, refusal.value.field) == ("invalid_request", field)
        assert engine.routed("m").route == SPLIT, "the one before goes on"

    async def test_a_model_that_is_not_there_has_none(self, engine: Engine) -> None:
        for call in (lambda: engine.route("n", SPLIT), lambda: engine.route("n", None), lambda: engine.routed("n")):
            with pytest.raises(StreaminferError) as refusal:
                call()
            assert refusal.value.code == "model_not_found"

    async def test_without_one_the_latest_answers_everyone(self, engine: Engine) -> None:
        assert engine.routed("m").route == Route([Arm("0", 1.0)])
        engine.route("m", SPLIT)
        assert set((await answers(engine)).values()) == {"0", "1"}
        status = engine.route("m", None)
        assert (status.route, status.arms) == (Route([Arm("0", 1.0)]), [])
        assert set((await answers(engine)).values()) == {"0"}


class TestWhoGetsWhat:
    async def test_users_stay_where_they_are_and_names_go_past_it(self, engine: Engine) -> None:
        engine.route("m", SPLIT)
        first = await answers(engine)
        assert await answers(engine) == first
        assert set((await answers(engine, "m@1")).values()) == {"1"}
        assert set((await answers(engine, "m@latest")).values()) == {"0"}
        assert set((await answers(engine, "m@2")).values()) == {"2"}
        assert [arm.requests for arm in engine.routed("m").arms] == [
            2 * list(first.values()).count(version) for version in "01"
        ]

    async def test_a_key_goes_before_the_client(self, engine: Engine) -> None:
        engine.route("m", SPLIT)
        by_client = await answers(engine)
        for user, version in by_client.items():
            answer = await engine.predict(predict("p", "m", [ROW], key=user), "somebody else")
            assert answer.version == version

    async def test_what_a_route_names_is_not_unloaded_and_stays_when_it_is_replaced(
        self, engine: Engine, models: Path
    ) -> None:
        engine.route("m", SPLIT)
        with pytest.raises(StreaminferError, match="route"):
            await engine.unload("m@1")
        await engine.activate("m", "2")
        await engine.swap("m", str(models / "0"), version="new")
        assert set((await answers(engine)).values()) == {"0", "1"}
        engine.route("m", None)
        assert (await engine.predict(predict("p", "m", [ROW]))).version == "new"

    async def test_a_model_that_is_unloaded_takes_its_route_with_it(self, engine: Engine, models: Path) -> None:
        engine.route("m", SPLIT)
        await engine.unload("m")
        await engine.load("m", str(models / "1"), version="1")
        assert engine.routed("m").route == Route([Arm("1", 1.0)])

    async def test_a_bad_canary_goes_by_itself(self, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
        before = await answers(engine)
        engine.route("m", Route([Arm("0", 1.0)], Canary("1", 0.5, max_latency_ratio=1e-6, min_requests=20)))
        seen = []
        with caplog.at_level(logging.WARNING, "jupyter_streaminfer.engine.routing"):
            for _ in range(20):
                seen += (await answers(engine)).values()
        assert set(seen) == {"0", "1"}
        status = engine.routed("m")
        assert status.rolled_back is not None
        assert status.rolled_back.startswith("Version 1 was taken out. Its median latency over ")
        assert [record.getMessage() for record in caplog.records] == [
            f"The canary of model 'm' is rolled back. {status.rolled_back}"
        ]
        assert await answers(engine) == before


class TestFigures:
    async def test_they_are_those_of_a_recount(self, engine: Engine) -> None:
        """From a log that the askers keep: answers, refusals, requests taken back, and answers from the cache."""
        engine.route("m", Route([Arm("0", 0.6), Arm("1", 0.4)], Canary("2", 0.25, max_latency_ratio=1e9)))
        log: Counter[str] = Counter()
        refused: list[int] = []

        async def ask(number: int) -> None:
            inputs = [[1.0]] if number % 7 == 0 else [ROW]
            request = predict("p", "m", inputs, cache=number % 5 == 0, key=f"user {number % 97}")
            if number % 11 == 0:
                engine.ask(request, "", lambda answer: pytest.fail("it was taken back")).cancel()
            elif number % 7 == 0:
                with pytest.raises(StreaminferError, match="shape"):
                    await engine.predict(request)
                refused.append(number)
            else:
                answer = await engine.predict(request)
                log[answer.version] += not answer.cached

        for begin in range(0, 900, 30):
            await asyncio.gather(*(ask(number) for number in range(begin, begin + 30)))
        status = engine.routed("m")
        total = sum(log.values())
        assert engine.metrics().cache_hits > 0
        assert {arm.version: arm.requests for arm in status.arms} == dict(log)
        assert sum(arm.refused for arm in status.arms) == len(refused)
        for arm, part in zip(status.arms, (0.45, 0.3, 0.25), strict=True):
            assert (arm.errors, arm.weight) == (0, pytest.approx(part))
            assert arm.share is not None
            assert arm.share.value == log[arm.version] / total
            assert arm.share.low < arm.share.value < arm.share.high
            assert arm.latency_ms is not None
            assert arm.latency_p50_ms is not None
            assert arm.latency_p95_ms is not None
            assert 0 < arm.latency_p50_ms <= arm.latency_p95_ms

    async def test_streams_are_counted_by_their_first_token(self, tiny_llama: Path) -> None:
        engine = Engine()
        for version in "12":
            await engine.load("tiny", str(tiny_llama), version=version, activate=version == "1")
        before = await engine.generate(Generate("g", "tiny", prompt="The", max_tokens=200, ignore_eos=True))
        engine.route("tiny", Route([Arm("1", 0.5), Arm("2", 0.5)]))
        log: Counter[str] = Counter()
        for number in range(12):
            request = Generate("g", "tiny", prompt="The", max_tokens=2, ignore_eos=True, key=f"user {number}")
            stream = await engine.generate(request)
            async with stream.cursor() as cursor:
                [event async for event in cursor]
            log[stream.version] += 1
        with pytest.raises(StreaminferError):
            await engine.generate(Generate("g", "tiny", prompt="The", max_tokens=10**5))
        gone = await engine.generate(Generate("g", "tiny", prompt="The", max_tokens=200, ignore_eos=True))
        engine.cancel(gone.id)
        async with before.cursor() as cursor:
            [event async for event in cursor]
        status = engine.routed("tiny")
        assert {arm.version: arm.requests for arm in status.arms} == dict(log)
        assert all(arm.latency_p50_ms is not None and arm.errors == 0 for arm in status.arms)
        await engine.close()


class TestTheyOutliveTheEngine:
    async def test_users_stay_where_they_were(self, models: Path, tmp_path: Path) -> None:
        engine = await start(models, state_dir=str(tmp_path / "state"))
        engine.route("m", SPLIT)
        before = await answers(engine)
        await engine.close()

        engine = Engine(EngineConfig(max_wait_ms=0, state_dir=str(tmp_path / "state")))
        await engine.load("m", str(models / "2"), version="2")
        assert engine.routed("m").waiting == ["0", "1"]
        assert set((await answers(engine)).values()) == {"2"}, "the route waits for its versions"
        await engine.load("m", str(models / "1"), version="1", activate=False)
        assert engine.routed("m").waiting == ["0"]
        assert set((await answers(engine)).values()) == {"1"}
        await engine.load("m", str(models / "0"), version="0", activate=False)
        assert await answers(engine) == before
        assert engine.routed("m").waiting == []
        engine.route("m", None)
        await engine.close()

        engine = await start(models, state_dir=str(tmp_path / "state"))
        assert engine.routed("m").route == Route([Arm("0", 1.0)])
        await engine.close()

    async def test_a_canary_that_was_taken_out_stays_out(self, models: Path, tmp_path: Path) -> None:
        engine = await start(models, state_dir=str(tmp_path / "state"))
        engine.route("m", Route([Arm("0", 1.0)], Canary("1", 0.5, max_latency_ratio=1e-6, min_requests=10)))
        for _ in range(5):
            await answers(engine)
        why = engine.routed("m").rolled_back
        assert why is not None
        await engine.close()

        engine = await start(models, state_dir=str(tmp_path / "state"))
        assert engine.routed("m").rolled_back == why
        assert set((await answers(engine)).values()) == {"0"}
        await engine.close()

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"[" * 10_000,
            b'{"model": "other", "route": {"arms": [{"version": "0", "weight": 1}]}}',
            b'{"model": "m", "route": {"arms": [{"version": "0", "weight": 7}]}}',
            b'{"model": "m", "route": {"arms": []}}',
            b'{"model": "m", "route": {"arms": [{"version": "0", "weight": 1}]}, "run": "rm"}',
            b" " * (MAX_FILE_BYTES + 1),
        ],
    )
    def test_a_damaged_file_is_set_aside(self, tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
        files = RouteFiles(tmp_path)
        files.write("n", KeptRoute("n", SPLIT, "Why."))
        (tmp_path / "m.json").write_bytes(text)
        assert files.read() == {"n": KeptRoute("n", SPLIT, "Why.")}
        assert "m.json" in caplog.text
        assert (tmp_path / "m.json.damaged").read_bytes() == text
        caplog.clear()
        assert list(files.read()) == ["n"]
        assert caplog.text == ""

    async def test_one_that_cannot_be_is_not_used(
        self, models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        RouteFiles(tmp_path / "routes").write("m", KeptRoute("m", Route([Arm("0", 0.5)])))
        engine = await start(models, state_dir=str(tmp_path))
        assert "the weights sum to 0.5" in caplog.text
        assert engine.routed("m").route == Route([Arm("0", 1.0)])
        await engine.close()

    async def test_a_disk_that_takes_nothing_stops_nothing(
        self, models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "state").write_text("no folder")
        engine = await start(models, state_dir=str(tmp_path / "state"))
        engine.route("m", SPLIT)
        assert set((await answers(engine)).values()) == {"0", "1"}
        await engine.close()
        assert "will not outlive this server" in caplog.text

    async def test_the_last_one_is_kept_and_nothing_else_is_left(self, models: Path, tmp_path: Path) -> None:
        engine = await start(models, state_dir=str(tmp_path / "state"))
        for number in range(20):
            engine.route("m", Route([Arm("0", number / 20), Arm("1", 1 - number / 20)]))
        await engine.close()
        (path,) = (tmp_path / "state" / "routes").iterdir()
        assert json.loads(path.read_text())["route"]["arms"][0] == {"version": "0", "weight": 0.95}


class TestTheCache:
    async def test_a_hit_is_told_as_one_and_later_than_it_was_asked(self, engine: Engine) -> None:
        first = await engine.predict(predict("a", "m", [ROW], cache=True))
        heard: list[Any] = []
        engine.ask(predict("b", "m", [ROW], cache=True), "", heard.append)
        assert heard == []
        await asyncio.sleep(0)
        (second,) = heard
        assert (first.cached, second.cached, second.id, bytes(second.outputs)) == (
            False,
            True,
            "b",
            bytes(first.outputs),
        )
        assert engine.model("m").requests == 1
        metrics = engine.metrics()
        assert (metrics.cache_hits, metrics.cache_misses, metrics.pending) == (1, 1, 0)
        assert metrics.cache_bytes > len(bytes(first.outputs))

    async def test_who_does_not_ask_for_it_has_nothing_to_do_with_it(self, engine: Engine) -> None:
        await engine.predict(predict("a", "m", [ROW]))
        assert not (await engine.predict(predict("b", "m", [ROW], cache=True))).cached
        assert not (await engine.predict(predict("c", "m", [ROW]))).cached
        assert engine.metrics().cache_misses == 1

    async def test_a_hit_can_be_taken_back(self, engine: Engine) -> None:
        await engine.predict(predict("a", "m", [ROW], cache=True))
        heard: list[Any] = []
        engine.ask(predict("b", "m", [ROW], cache=True), "", heard.append).cancel()
        await asyncio.sleep(0.01)
        assert heard == []

    async def test_versions_do_not_answer_for_each_other(self, engine: Engine, models: Path) -> None:
        for version in "012":
            answer = await engine.predict(predict("a", f"m@{version}", [ROW], cache=True))
            assert (answer.cached, str(told(answer))) == (False, version)
        await engine.unload("m@2")
        held = engine.metrics().cache_bytes
        await engine.load("m", str(models / "1"), version="2", activate=False)
        answer = await engine.predict(predict("a", "m@2", [ROW], cache=True))
        assert (answer.cached, told(answer)) == (False, 1), "another model by the same name and version"
        assert engine.metrics().cache_bytes > held
        await engine.unload("m")
        assert engine.metrics().cache_bytes == 0

    async def test_errors_are_never_kept(self, engine: Engine) -> None:
        for _ in range(2):
            with pytest.raises(StreaminferError):
                await engine.predict(predict("a", "m", [[1.0]], cache=True))
        assert engine.metrics().cache_hits == 0

    async def test_a_hit_counts_as_a_request_of_its_client(self, models: Path) -> None:
        engine = await start(models, client_requests_per_s=0.001, client_requests_burst=2, client_tokens_per_s=0.001)
        for _ in range(2):
            await engine.predict(predict("a", "m", [ROW], cache=True), "me")
        with pytest.raises(StreaminferError) as refusal:
            await engine.predict(predict("a", "m", [ROW], cache=True), "me")
        assert refusal.value.code == "rate_limited"
        await engine.close()
