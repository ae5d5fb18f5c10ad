"""From a model's load to its end: progress, time limits, idleness, room, settings, and what a failure leaves behind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from held_loads import Gate
from leftovers import TIMEOUT_S, taken, until, until_no_more_than
from telling_models import ask, broken, telling, told
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine, EngineConfig
from jupyter_streaminfer.protocol import ErrorInfo, Generate, ModelSettings, Placement, StreaminferError
from jupyter_streaminfer.workers import ProcessWorker

HANGING = (str(Path(__file__).with_name("hanging_child.py")),)


@pytest.fixture
async def engines() -> AsyncIterator[list[Engine]]:
    """Those that a test puts here are closed."""
    made: list[Engine] = []
    yield made
    for engine in made:
        await asyncio.wait_for(engine.close(), TIMEOUT_S)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open()


def state(engine: Engine, name: str) -> str:
    return engine.model(name).state


def stages(engine: Engine) -> list[str]:
    """How far the load of each version is."""
    return [each.progress.stage for each in engine.models() if each.progress]


async def answered(engine: Engine, name: str) -> int:
    """What a model tells a client that comes again when it is told to; the refusals say when that is."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return told(await ask(engine, name))
            except StreaminferError as refusal:
                if refusal.code != "model_not_ready" or refusal.info.retry_after_ms is None:
                    raise
                await asyncio.sleep(0.01)


class TestLoading:
    @pytest.mark.parametrize("placement", ["thread", "process"])
    async def test_a_load_that_hangs_is_given_up(
        self, engines: list[Engine], tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, placement: Placement
    ) -> None:
        engines.append(engine := Engine(EngineConfig(load_timeout_s=0.5)))
        folder = str(telling(tmp_path, 1))
        gate.hold(folder)
        monkeypatch.setattr(ProcessWorker, "program", HANGING)
        monkeypatch.setattr("jupyter_streaminfer.engine.model.GIVE_UP_S", 3.0 if placement == "process" else 0.1)
        before = taken()
        with pytest.raises(StreaminferError, match="load_timeout_s") as refusal:
            await asyncio.wait_for(engine.load("m", folder, placement=placement), TIMEOUT_S)
        assert refusal.value.code == "deadline"
        assert ("was killed" if placement == "process" else "cannot be ended") in str(refusal.value)
        assert engine.model("m").error == refusal.value.info
        if placement == "process":
            assert taken()["processes"] <= before["processes"]
        gate.open()
        await until_no_more_than(before)

    @pytest.mark.parametrize("placement", ["thread", "process"])
    async def test_a_model_is_unloaded_in_the_middle_of_its_load(
        self, engines: list[Engine], tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, placement: Placement
    ) -> None:
        engines.append(engine := Engine())
        folder = str(telling(tmp_path, 1))
        gate.hold(folder)
        monkeypatch.setattr(ProcessWorker, "program", HANGING)
        monkeypatch.setattr("jupyter_streaminfer.engine.model.GIVE_UP_S", 3.0 if placement == "process" else 0.1)
        before = taken()
        load = asyncio.create_task(engine.load("m", folder, placement=placement))
        queued = asyncio.create_task(engine.swap("m", folder, placement=placement))
        await until(lambda: stages(engine) == ["reading", "waiting"])
        await asyncio.wait_for(engine.unload("m"), TIMEOUT_S)
        assert engine.models() == []
        for each in (load, queued):
            with pytest.raises(StreaminferError, match="unloaded") as refusal:
                await each
            assert refusal.value.code == "cancelled"
        gate.open()
        await until_no_more_than(before)

    @pytest.mark.parametrize(("placement", "times"), [("thread", 10), ("process", 2)])
    async def test_loads_that_fail_leave_nothing(
        self, engines: list[Engine], tmp_path: Path, placement: Placement, times: int
    ) -> None:
        engines.append(engine := Engine())
        good, bad = str(telling(tmp_path / "good", 1)), str(broken(tmp_path / "bad"))
        await engine.load("good", good, placement="thread")
        before = taken()
        for _ in range(times):
            with pytest.raises(StreaminferError):
                await engine.load("bad", bad, placement=placement)
        gc.collect()
        await until_no_more_than(before)
        assert [each.version for each in engine.models()] == ["1", "1"]


class TestIdleness:
    async def test_an_idle_model_is_unloaded_and_comes_back_when_asked(
        self, engines: list[Engine], tmp_path: Path
    ) -> None:
        engines.append(engine := Engine(EngineConfig(idle_unload_s=0.2)))
        await engine.load("m", str(telling(tmp_path, 3)))
        assert await answered(engine, "m") == 3
        await until(lambda: state(engine, "m") == "unloaded")
        status = engine.model("m")
        assert (status.latest, status.memory_bytes, status.requests) == (True, 0, 1)
        assert engine.health().status == "ok"
        assert await answered(engine, "m") == 3
        assert engine.model("m").requests == 2
        await until(lambda: state(engine, "m") == "unloaded")
        assert (await engine.load("m")).state == "ready"

    async def test_pinned_ones_and_those_at_work_stay(
        self, engines: list[Engine], tmp_path: Path, long_llama: Path
    ) -> None:
        engines.append(engine := Engine(EngineConfig(idle_unload_s=0.2)))
        await engine.load("working", str(long_llama), pinned=True)
        fields = {"id": "g", "model": "working", "prompt": "The", "ignore_eos": True, "detached": True}
        stream = await engine.generate(Generate(**fields, max_tokens=ENDLESS))
        await engine.configure("working", ModelSettings(pinned=False))
        await engine.load("pinned", str(telling(tmp_path / "a", 1)), pinned=True)
        await engine.load("idle", str(telling(tmp_path / "b", 2)))
        await until(lambda: state(engine, "idle") == "unloaded")
        assert (state(engine, "pinned"), state(engine, "working")) == ("ready", "ready")
        assert engine.model("pinned").pinned
        assert engine.model("working").idle_s == 0
        await engine.configure("pinned", ModelSettings(pinned=False))
        await until(lambda: state(engine, "pinned") == "unloaded")
        engine.cancel(stream.id)
        await until(lambda: state(engine, "working") == "unloaded")

    async def test_a_sleeping_model_that_cannot_come_back_says_why(self, engines: list[Engine], tmp_path: Path) -> None:
        engines.append(engine := Engine(EngineConfig(idle_unload_s=0.1)))
        folder = telling(tmp_path, 3)
        await engine.load("m", str(folder))
        await until(lambda: state(engine, "m") == "unloaded")
        (folder / "model.safetensors").unlink()
        with pytest.raises(StreaminferError) as refusal:
            await ask(engine, "m")
        assert refusal.value.info.retryable
        await until(lambda: state(engine, "m") == "failed")
        with pytest.raises(StreaminferError, match="missing") as refusal:
            await ask(engine, "m")
        assert not refusal.value.info.retryable


class TestRoom:
    """Models of about 1.1 MB each, in a budget of 2.5 MB."""

    @pytest.fixture
    async def engine(self, engines: list[Engine], tmp_path: Path) -> Engine:
        engines.append(engine := Engine(EngineConfig(max_models_bytes=2_500_000)))
        for number, name in enumerate("abc"):
            telling(tmp_path / name, number, hidden=4000)
        for name in "ab":
            await engine.load(name, str(tmp_path / name))
        return engine

    async def test_the_least_recently_used_one_makes_way(self, engine: Engine, tmp_path: Path) -> None:
        assert 1_000_000 < engine.model("a").memory_bytes < 1_250_000
        assert await answered(engine, "a") == 0
        await engine.load("c", str(tmp_path / "c"))
        assert [state(engine, name) for name in "abc"] == ["ready", "unloaded", "ready"]
        assert await answered(engine, "b") == 1
        assert [state(engine, name) for name in "abc"] == ["unloaded", "ready", "ready"]

    async def test_what_finds_no_room_is_told_who_has_it(self, engine: Engine, tmp_path: Path) -> None:
        for name in "ab":
            await engine.configure(name, ModelSettings(pinned=True))
        with pytest.raises(StreaminferError, match=r"a@1 has .* \(pinned\), b@1") as refusal:
            await engine.load("c", str(tmp_path / "c"))
        assert (refusal.value.code, refusal.value.info.retryable) == ("overloaded", True)
        with pytest.raises(StreaminferError, match="max_models_bytes"):
            await engine.swap("a", str(tmp_path / "c"))
        assert [(each.name, each.version, each.state) for each in engine.models()] == [
            ("a", "1", "ready"),
            ("b", "1", "ready"),
        ]
        await engine.configure("b", ModelSettings(pinned=False))
        await engine.swap("a", str(tmp_path / "c"))
        assert (told(await ask(engine, "a")), state(engine, "b")) == (2, "unloaded")

    async def test_what_can_never_find_room_is_not_to_come_again(self, engine: Engine, tmp_path: Path) -> None:
        with pytest.raises(StreaminferError) as refusal:
            await engine.load("large", str(telling(tmp_path / "large", 5, hidden=12_000)))
        assert (refusal.value.code, refusal.value.info.retryable) == ("overloaded", False)
        assert [state(engine, name) for name in "ab"] == ["ready", "ready"]

    async def test_one_that_sleeps_and_finds_no_room_sleeps_on(self, engine: Engine, tmp_path: Path) -> None:
        await engine.load("c", str(tmp_path / "c"))
        for name in "bc":
            await engine.configure(name, ModelSettings(pinned=True))
        with pytest.raises(StreaminferError):
            await ask(engine, "a")
        await until(lambda: state(engine, "a") == "unloaded")
        error = engine.model("a").error
        assert isinstance(error, ErrorInfo)
        assert "max_models_bytes" in error.message
        await engine.unload("c")
        assert await answered(engine, "a") == 0
        assert engine.model("a").error is None


async def test_a_process_s_whole_memory_is_its_model_s(engines: list[Engine], tmp_path: Path) -> None:
    engines.append(engine := Engine())
    await engine.load("m", str(telling(tmp_path, 1)), placement="process")
    await until(lambda: engine.model("m").memory_bytes > 20 * 2**20)
    assert engine.model("m").age_s > 0


class TestSettings:
    async def test_what_cannot_be_set_is_refused_by_name(
        self, engines: list[Engine], tmp_path: Path, tiny_llama: Path
    ) -> None:
        engines.append(engine := Engine())
        await engine.load("m", str(telling(tmp_path, 1)))
        for settings, field in (
            (ModelSettings(max_batch_size=0), "max_batch_size"),
            (ModelSettings(max_batch_size=33), "max_batch_size"),
            (ModelSettings(max_wait_ms=-1.0), "max_wait_ms"),
            (ModelSettings(latency_target_ms=float("nan")), "latency_target_ms"),
        ):
            with pytest.raises(StreaminferError) as refusal:
                await engine.configure("m", settings)
            assert (refusal.value.code, refusal.value.field) == ("invalid_request", field)
        await engine.load("l", str(tiny_llama))
        with pytest.raises(StreaminferError, match="only pinned"):
            await engine.configure("l", ModelSettings(max_wait_ms=1.0))
        assert (await engine.configure("l", ModelSettings(pinned=True))).pinned

    async def test_the_batcher_has_them_now_and_in_versions_to_come(
        self, engines: list[Engine], tmp_path: Path
    ) -> None:
        engines.append(engine := Engine())
        await engine.load("m", str(telling(tmp_path / "1", 1)))
        await engine.configure("m", ModelSettings(max_wait_ms=7.0))
        await engine.configure("m", ModelSettings(max_batch_size=5))

        def batcher() -> tuple[int, float]:
            stats = engine.model("m").stats
            assert stats is not None
            assert stats.batcher is not None
            return stats.batcher.max_batch_size, stats.batcher.max_wait_ms

        await until(lambda: batcher() == (5, 7.0))
        await engine.swap("m", str(telling(tmp_path / "2", 2)))
        await until(lambda: batcher() == (5, 7.0))
        assert told(await ask(engine, "m")) == 2
