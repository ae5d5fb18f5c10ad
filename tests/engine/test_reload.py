"""What a configuration says of models becomes so, and nothing else changes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from telling_models import ask, broken, telling, told

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import LoadModel


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine()
    yield engine
    await engine.close()


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return [str(telling(tmp_path / str(number), number)) for number in range(4)]


def latest(engine: Engine) -> dict[str, str]:
    return {each.name: each.version for each in engine.models() if each.latest}


async def test_a_configuration_is_applied_step_by_step(engine: Engine, folders: list[str]) -> None:
    first = {"a": LoadModel(name="a", path=folders[0]), "b": LoadModel(name="b", path=folders[1])}
    assert await engine.reload(first) == ["Model 'a' was loaded (version 1).", "Model 'b' was loaded (version 1)."]
    assert await engine.reload(first) == []
    second = {"a": LoadModel(name="a", path=folders[2]), "c": LoadModel(name="c", path=folders[3], pinned=True)}
    assert await engine.reload(second) == [
        "Model 'b' was unloaded.",
        "Model 'a' was swapped: it is version 2 now.",
        "Model 'c' was loaded (version 1).",
    ]
    assert latest(engine) == {"a": "2", "c": "1"}
    assert [told(await ask(engine, name)) for name in "ac"] == [2, 3]
    third = {"a": LoadModel(name="a", path=folders[2]), "c": LoadModel(name="c", path=folders[3])}
    assert await engine.reload(third) == ["Model 'c' is no longer pinned now."]
    assert not engine.model("c").pinned


async def test_what_was_loaded_by_hand_is_left_alone(engine: Engine, folders: list[str]) -> None:
    await engine.load("mine", folders[0])
    await engine.load("shared", folders[1])
    await engine.load("other", folders[1])
    configured = {
        "shared": LoadModel(name="shared", path=folders[1]),
        "other": LoadModel(name="other", path=folders[2]),
    }
    assert await engine.reload(configured) == ["Model 'other' was swapped: it is version 2 now."]
    assert await engine.reload({}) == ["Model 'shared' was unloaded.", "Model 'other' was unloaded."]
    assert latest(engine) == {"mine": "1"}


async def test_a_model_that_fails_holds_up_no_other_and_is_tried_again(
    engine: Engine, folders: list[str], tmp_path: Path
) -> None:
    await engine.reload({"a": LoadModel(name="a", path=folders[0])})
    bad = broken(tmp_path / "bad")
    configured = {
        "a": LoadModel(name="a", path=str(bad)),
        "b": LoadModel(name="b", path=str(tmp_path / "nothing")),
        "c": LoadModel(name="c", path=folders[1]),
    }
    done = await engine.reload(configured)
    assert [each.partition(":")[0] for each in done] == [
        "Model 'a' is not as it is configured",
        "Model 'b' is not as it is configured",
        "Model 'c' was loaded (version 1).",
    ]
    assert [told(await ask(engine, name)) for name in "ac"] == [0, 1]
    telling(bad, 5)
    telling(tmp_path / "nothing", 6)
    assert await engine.reload(configured) == [
        "Model 'a' was swapped: it is version 2 now.",
        "Model 'b' was loaded (version 1).",
    ]
    assert [told(await ask(engine, name)) for name in "abc"] == [5, 6, 1]


async def test_what_was_unloaded_by_hand_is_loaded_again(engine: Engine, folders: list[str]) -> None:
    configured = {"a": LoadModel(name="a", path=folders[0])}
    await engine.reload(configured)
    await engine.unload("a")
    assert await engine.reload(configured) == ["Model 'a' was loaded (version 1)."]
    await engine.unload("a")
    assert await engine.reload({}) == []
