"""What a name means: its versions, the latest of them, and what is said where none answers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telling_models import ask, broken, telling, told

from jupyter_streaminfer.engine import Engine, EngineConfig
from jupyter_streaminfer.engine.entry import Entry
from jupyter_streaminfer.protocol import StreaminferError


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(EngineConfig(max_models=2, max_versions=3))
    for number in range(5):
        telling(tmp_path / str(number), number)
    await engine.load("m", str(tmp_path / "0"))
    yield engine
    await engine.close()


def versions(engine: Engine) -> dict[str, str]:
    """The state of each version of ``m``, a star at the latest."""
    return {each.version: each.state + "*" * each.latest for each in engine.models() if each.name == "m"}


async def test_a_name_a_version_and_the_latest_are_found(engine: Engine, tmp_path: Path) -> None:
    await engine.load("m", str(tmp_path / "1"), version="trial", activate=False)
    assert versions(engine) == {"1": "ready*", "trial": "ready"}
    for ref, number in {"m": 0, "m@1": 0, "m@latest": 0, "m@trial": 1}.items():
        answer = await ask(engine, ref)
        assert (told(answer), answer.model, answer.version) == (number, "m", "trial" if number else "1")
        assert engine.model(ref).version == answer.version


@pytest.mark.parametrize(
    ("ref", "says"),
    [("nobody", "loaded: m"), ("nobody@1", "loaded: m"), ("m@7", "versions: 1"), ("m@", "versions: 1"), ("@", "m")],
)
async def test_what_there_is_not_is_refused_with_what_there_is(engine: Engine, ref: str, says: str) -> None:
    with pytest.raises(StreaminferError, match=says) as refusal:
        await ask(engine, ref)
    assert (refusal.value.code, refusal.value.field) == ("model_not_found", "model")
    with pytest.raises(StreaminferError, match=says):
        engine.model(ref)


@pytest.mark.parametrize("version", ["latest", "", "a/b", "..", "x" * 33, "1\n", "-1"])
async def test_a_version_s_name_that_cannot_be_one_is_refused(engine: Engine, tmp_path: Path, version: str) -> None:
    with pytest.raises(StreaminferError) as refusal:
        await engine.swap("m", str(tmp_path / "1"), version=version)
    assert refusal.value.field == "version"
    assert versions(engine) == {"1": "ready*"}


async def test_a_version_that_is_there_is_not_overwritten(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(StreaminferError, match="Give another name") as refusal:
        await engine.swap("m", str(tmp_path / "1"), version="1")
    assert refusal.value.field == "version"
    with pytest.raises(StreaminferError) as refusal:
        await engine.load("m", str(tmp_path / "1"))
    assert refusal.value.field == "path"
    assert told(await ask(engine, "m")) == 0


async def test_a_load_of_a_named_version_takes_over_or_stands_by(engine: Engine, tmp_path: Path) -> None:
    await engine.load("m", str(tmp_path / "1"), version="2", activate=False)
    assert told(await ask(engine, "m")) == 0
    assert (await engine.load("m", version="2")).latest
    assert told(await ask(engine, "m")) == 1
    await engine.load("m", str(tmp_path / "2"), version="3")
    assert told(await ask(engine, "m")) == 2


async def test_a_name_without_a_latest_version_says_so(engine: Engine, tmp_path: Path) -> None:
    await engine.load("other", str(tmp_path / "1"), activate=False)
    with pytest.raises(StreaminferError, match="other@1") as refusal:
        await ask(engine, "other")
    assert refusal.value.code == "model_not_ready"
    assert told(await ask(engine, "other@1")) == 1
    assert (await engine.activate("other", "1")).latest
    assert told(await ask(engine, "other")) == 1


async def test_a_failed_version_gives_its_number_back_and_is_tried_again(engine: Engine, tmp_path: Path) -> None:
    folder = broken(tmp_path / "broken")
    for _ in range(2):
        with pytest.raises(StreaminferError) as refusal:
            await engine.swap("m", str(folder))
        assert engine.model("m@2").error == refusal.value.info
        assert versions(engine) == {"1": "ready*", "2": "failed"}
    with pytest.raises(StreaminferError, match="m@2") as refusal:
        await ask(engine, "m@2")
    assert (refusal.value.code, refusal.value.info.retryable) == ("model_not_ready", False)
    telling(folder, 4)
    assert (await engine.activate("m", "2")).state == "ready"
    assert told(await ask(engine, "m")) == 4


async def test_names_and_versions_are_bounded(engine: Engine, tmp_path: Path) -> None:
    await engine.load("other", str(tmp_path / "1"))
    with pytest.raises(StreaminferError, match="2 models") as refusal:
        await engine.load("third", str(tmp_path / "1"))
    assert refusal.value.code == "overloaded"
    for version in ("a", "b"):
        await engine.load("m", str(tmp_path / "1"), version=version, activate=False)
    with pytest.raises(StreaminferError, match="max_versions") as refusal:
        await engine.swap("m", str(tmp_path / "2"))
    assert refusal.value.code == "overloaded"
    assert set(versions(engine)) == {"1", "a", "b"}


async def test_failed_versions_are_remembered_up_to_a_bound(engine: Engine, tmp_path: Path) -> None:
    folder = broken(tmp_path / "broken")
    for number in range(12):
        with pytest.raises(StreaminferError):
            await engine.swap("m", str(folder), version=f"bad{number}")
    assert list(versions(engine)) == ["1", *(f"bad{number}" for number in range(4, 12))]


async def test_one_version_is_unloaded_but_not_the_latest_of_several(engine: Engine, tmp_path: Path) -> None:
    await engine.load("m", str(tmp_path / "1"), version="2", activate=False)
    with pytest.raises(StreaminferError, match=r"Activate another one first \(2\)") as refusal:
        await engine.unload("m@1")
    assert (refusal.value.code, refusal.value.field) == ("invalid_request", "model")
    await engine.unload("m@2")
    assert versions(engine) == {"1": "ready*"}
    await engine.unload("m@latest")
    assert engine.models() == []
    assert (await engine.load("m", str(tmp_path / "3"))).version == "1"


class Version:
    """As much of a model as an entry looks at."""

    state = "unloaded"
    loaded = False


@given(st.lists(st.tuples(st.sampled_from(["activate", "back", "forget"]), st.sampled_from("abcd")), max_size=40))
def test_the_way_back_is_one_of_versions_that_are_there_each_once(steps: list[tuple[str, str]]) -> None:
    entry = Entry("m")
    for step, version in steps:
        if step == "forget":
            entry.forget(version)
        elif step == "activate":
            entry.versions[version] = Version()  # type: ignore[assignment]
            assert entry.activate(version, entry.claim())
            assert entry.latest == version
        elif entry.before:
            wanted, left = entry.before[-1], entry.latest
            assert entry.activate(wanted, entry.claim(back=True))
            assert entry.latest == wanted
            assert left not in entry.before
        assert len(set(entry.before)) == len(entry.before)
        assert {*entry.before} <= entry.versions.keys()
        assert entry.latest is None or entry.latest in entry.versions
        assert entry.latest not in entry.before


def test_an_older_wish_takes_nothing_over_from_a_younger_one() -> None:
    entry = Entry("m")
    older, younger = entry.claim(), entry.claim()
    assert entry.activate("2", younger)
    assert not entry.activate("1", older)
    assert entry.latest == "2"
    assert entry.before == []
