"""One version takes over from another: under requests, with broken ones among them, and back again."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from held_loads import Gate
from leftovers import TIMEOUT_S, taken, until, until_no_more_than
from telling_models import ask, broken, telling, told
from tiny_models import ENDLESS, build_llama

from jupyter_streaminfer.engine import Engine, EngineConfig, Stream
from jupyter_streaminfer.protocol import (
    Cancelled,
    Completed,
    Continue,
    Event,
    Generate,
    Placement,
    StreaminferError,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A model folder for each number."""
    root = tmp_path_factory.mktemp("numbers")
    return [str(telling(root / str(number), number)) for number in range(32)]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(broken(tmp_path_factory.mktemp("broken")))


@pytest.fixture
async def engine(folders: list[str]) -> AsyncIterator[Engine]:
    engine = Engine()
    await engine.load("m", folders[0])
    yield engine
    await engine.close()


def versions(engine: Engine) -> dict[str, str]:
    """The state of each version, a star at the latest."""
    return {each.version: each.state + "*" * each.latest for each in engine.models()}


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open()


async def test_a_swap_takes_over_when_it_is_ready_and_not_before(
    engine: Engine, folders: list[str], gate: Gate
) -> None:
    gate.hold(folders[1])
    swap = asyncio.create_task(engine.swap("m", folders[1]))
    await until(lambda: "2" in versions(engine) and engine.model("m@2").progress.stage == "reading")
    assert versions(engine) == {"1": "ready*", "2": "loading"}
    assert (engine.model("m@2").progress.done_bytes, engine.model("m@2").progress.total_bytes) == (1, 2)
    assert told(await ask(engine, "m")) == 0
    with pytest.raises(StreaminferError) as refusal:
        await ask(engine, "m@2")
    assert refusal.value.info.retryable
    gate.open()
    status = await swap
    assert (status.version, status.latest, status.state, status.progress) == ("2", True, "ready", None)
    assert told(await ask(engine, "m")) == 1
    await until(lambda: versions(engine) == {"1": "unloaded", "2": "ready*"})
    with pytest.raises(StreaminferError, match="version 2 now") as refusal:
        await ask(engine, "m@1")
    assert (refusal.value.code, refusal.value.info.retryable) == ("model_not_ready", False)


async def test_a_failed_swap_leaves_the_old_one_serving(engine: Engine, folders: list[str], bad: str) -> None:
    with pytest.raises(StreaminferError) as refusal:
        await engine.swap("m", bad)
    assert versions(engine) == {"1": "ready*", "2": "failed"}
    assert engine.model("m@2").error == refusal.value.info
    assert told(await ask(engine, "m")) == 0
    assert (await engine.swap("m", folders[2])).version == "2"
    assert told(await ask(engine, "m")) == 2


async def test_a_swap_without_a_path_reads_the_same_files_again(engine: Engine, tmp_path: Path) -> None:
    folder = telling(tmp_path / "own", 5)
    await engine.swap("m", str(folder))
    telling(folder, 6)
    status = await engine.swap("m")
    assert (status.path, status.version) == (str(folder), "3")
    assert told(await ask(engine, "m")) == 6


async def test_swaps_of_one_name_have_their_turns_and_the_last_asked_stays(engine: Engine, folders: list[str]) -> None:
    swaps = [asyncio.create_task(engine.swap("m", folders[number])) for number in range(1, 6)]
    seen: list[int] = []
    while not all(each.done() for each in swaps):
        if (number := told(await ask(engine, "m"))) not in seen:
            seen.append(number)
    assert [each.result().version for each in swaps] == ["2", "3", "4", "5", "6"]
    assert seen == sorted(seen)
    assert told(await ask(engine, "m")) == 5
    await until(lambda: versions(engine)["6"] == "ready*" and "retiring" not in versions(engine).values())


async def test_who_gives_up_leaves_the_swap_to_go_on(engine: Engine, folders: list[str]) -> None:
    swap = asyncio.create_task(engine.swap("m", folders[1]))
    await until(lambda: "2" in versions(engine))
    swap.cancel()
    await until(lambda: versions(engine).get("2") == "ready*")
    assert told(await ask(engine, "m")) == 1


async def test_a_rollback_overtakes_a_swap_that_is_still_loading(
    engine: Engine, folders: list[str], gate: Gate
) -> None:
    await engine.load("m", folders[1], version="stand-by", activate=False)
    gate.hold(folders[2])
    swap = asyncio.create_task(engine.swap("m", folders[2], version="slow"))
    await until(lambda: "slow" in versions(engine))
    assert (await engine.activate("m", "stand-by")).latest
    gate.open()
    with pytest.raises(StreaminferError, match="asked for later") as refusal:
        await swap
    assert refusal.value.code == "cancelled"
    assert told(await ask(engine, "m")) == 1
    await until(lambda: versions(engine)["slow"] == "unloaded")


async def test_rollback_goes_back_step_by_step(engine: Engine, folders: list[str]) -> None:
    with pytest.raises(StreaminferError, match="no version to go back to"):
        await engine.rollback("m")
    for number in (1, 2):
        await engine.swap("m", folders[number])
    await until(lambda: versions(engine)["2"] == "unloaded")
    for version, number in (("2", 1), ("1", 0)):
        assert (await engine.rollback("m")).version == version
        assert told(await ask(engine, "m")) == number
    with pytest.raises(StreaminferError, match="no version to go back to"):
        await engine.rollback("m")
    await until(lambda: versions(engine) == {"3": "unloaded", "2": "unloaded", "1": "ready*"})
    assert (await engine.activate("m", "3")).state == "ready"
    assert told(await ask(engine, "m")) == 2
    assert (await engine.swap("m", folders[3])).version == "4", "a version that answered is not another one later"


async def test_a_rollback_at_once_waits_for_nobody_s_retry(engine: Engine, folders: list[str]) -> None:
    """The version that is gone back to may be on its way out just then."""
    await engine.swap("m", folders[1])
    assert (await engine.rollback("m")).version == "1"
    assert told(await ask(engine, "m")) == 0


async def test_a_rollback_that_cannot_be_leaves_the_one_that_serves(engine: Engine, tmp_path: Path) -> None:
    folder = telling(tmp_path / "moved", 7)
    await engine.swap("m", str(folder))
    await engine.swap("m", str(telling(tmp_path / "other", 8)))
    await until(lambda: versions(engine)["2"] == "unloaded")
    (folder / "model.safetensors").unlink()
    with pytest.raises(StreaminferError, match="missing"):
        await engine.rollback("m")
    assert versions(engine) == {"1": "unloaded", "3": "ready*", "2": "failed"}
    assert told(await ask(engine, "m")) == 8
    telling(folder, 7)
    assert (await engine.rollback("m")).version == "2"
    assert told(await ask(engine, "m")) == 7


async def test_replaced_versions_can_be_kept(folders: list[str]) -> None:
    engine = Engine(EngineConfig(keep_versions=1))
    for number in range(3):
        await engine.swap("m", folders[number])
    await until(lambda: versions(engine) == {"1": "unloaded", "2": "ready", "3": "ready*"})
    assert told(await ask(engine, "m@2")) == 1
    await engine.rollback("m")
    assert told(await ask(engine, "m")) == 1
    await engine.close()


@pytest.fixture(scope="module")
def llamas(long_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    other = tmp_path_factory.mktemp("llamas") / "other"
    return [str(long_llama), str(build_llama(other, seed=1, max_position_embeddings=250_000))]


class TestStreams:
    @staticmethod
    def request(**changes: object) -> Generate:
        fields = {"id": "g", "model": "l", "prompt": "The", "temperature": 0, "ignore_eos": True, "max_tokens": 50}
        return Generate(**{**fields, **changes})

    @staticmethod
    async def read(stream: Stream) -> list[Event]:
        async with asyncio.timeout(TIMEOUT_S), stream.cursor() as cursor:
            return [event async for event in cursor]

    async def test_a_stream_ends_on_the_version_that_it_began_with(self, llamas: list[str]) -> None:
        engine = Engine(EngineConfig(window_tokens=100))
        await engine.load("l", llamas[0])
        long = self.request(max_tokens=3000)
        whole = await engine.generate(long)
        assert isinstance((await self.read(whole))[-1], Completed)
        under_way = await engine.generate(long)
        reader = under_way.cursor(notify=lambda: None)  # it waits for this one, which reads nothing yet
        await until(lambda: under_way.paused)
        await engine.swap("l", llamas[1])
        assert versions(engine) == {"1": "retiring", "2": "ready*"}
        new = await engine.generate(self.request())
        await self.read(new)
        with pytest.raises(StreaminferError, match="replaced"):
            await engine.generate(self.request(model="l@1"))
        reader.close()
        await self.read(under_way)
        assert (under_way.version, under_way.text) == ("1", whole.text)
        assert (new.version, new.text) != ("1", whole.text[: len(new.text)])
        await until(lambda: versions(engine) == {"1": "unloaded", "2": "ready*"})
        await engine.close()

    async def test_what_was_cut_goes_on_with_its_version_while_that_is_there(self, llamas: list[str]) -> None:
        engine = Engine()
        await engine.load("l", llamas[0])
        holder = await engine.generate(self.request(max_tokens=ENDLESS))
        cut = await engine.generate(self.request(max_tokens=ENDLESS))
        engine.cancel(cut.id)
        await engine.swap("l", llamas[1])
        rest = await engine.continue_(Continue("c", cut.id))
        assert rest.version == "1"
        for stream in (rest, holder):
            engine.cancel(stream.id)
        await until(lambda: versions(engine) == {"1": "unloaded", "2": "ready*"})
        with pytest.raises(StreaminferError, match="replaced") as refusal:
            await engine.continue_(Continue("c", cut.id))
        assert refusal.value.code == "model_not_ready"
        await engine.close()

    async def test_unloading_the_name_ends_the_streams_of_every_version(self, llamas: list[str]) -> None:
        engine = Engine()
        await engine.load("l", llamas[0])
        old = await engine.generate(self.request(max_tokens=ENDLESS))
        await engine.swap("l", llamas[1])
        new = await engine.generate(self.request(max_tokens=ENDLESS))
        await engine.unload("l")
        assert [type(stream.terminal) for stream in (old, new)] == [Cancelled, Cancelled]
        assert engine.models() == []
        await engine.close()


@pytest.mark.parametrize(("placement", "swaps", "pause_s"), [("thread", 30, 0.0), ("process", 3, 0.005)])
async def test_under_load_no_request_is_lost_failed_or_answered_by_two(
    folders: list[str], bad: str, placement: Placement, swaps: int, pause_s: float
) -> None:
    """``pause_s``: between a client's requests; without any, no core is left for processes to start on."""
    engine = Engine()
    await engine.load("m", folders[0], placement=placement)
    before = taken()
    history = ["1"]
    """The versions that were the latest, in order."""
    numbers = {"1": 0}
    answers: list[tuple[int, int, str, int]] = []
    swapping = True

    async def client() -> None:
        while swapping:
            began = len(history) - 1
            answer = await ask(engine, "m", count=3)
            answers.append((began, len(history) - 1, answer.version, told(answer)))
            await asyncio.sleep(pause_s)

    clients = [asyncio.create_task(client()) for _ in range(8)]
    for turn in range(1, swaps + 1):
        if turn % 4 == 3:
            with pytest.raises(StreaminferError):
                await engine.swap("m", bad, placement=placement)
            continue
        # The latest version changes before the swap's caller is told of it, so it is known from then on.
        version = str(len(history) + 1)
        numbers[version] = turn
        history.append(version)
        status = await engine.swap("m", folders[turn], placement=placement)
        assert status.version == version
    swapping = False
    await asyncio.wait_for(asyncio.gather(*clients), TIMEOUT_S)
    assert len(answers) >= len(clients)
    for began, ended, version, number in answers:
        assert number == numbers[version]
        # One may be answered by the version before the one that was being loaded as it was asked.
        assert version in history[max(0, began - 1) : ended + 1]
    await until(lambda: {*versions(engine).values()} <= {"ready*", "unloaded", "failed"})
    gc.collect()
    await until_no_more_than(before)
    assert engine.metrics().pending == 0
    await engine.close()
