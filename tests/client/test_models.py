"""Versions, routes and settings of models, against an engine in this process and a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jupyter_streaminfer.client import Client, ModelTable
from jupyter_streaminfer.client.progress import Step
from jupyter_streaminfer.protocol import StreaminferError

ROWS = np.random.default_rng(0).uniform(0, 16, (4, 64)).astype(np.float32)
THREAD: Any = {"placement": "thread", "progress": False}


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """A model of two versions, the second of which stands by."""
    name = "versions"
    bundled = Path(client.model("digits").path)
    client.load(name, bundled, **THREAD)
    client.swap(name, bundled, version="two", activate=False, **THREAD)
    yield name
    if name in {model.name for model in client.models()}:
        client.unload(name)


def test_every_version_is_listed(client: Client, name: str) -> None:
    models = client.models()
    assert isinstance(models, ModelTable)
    found = {model.version: model.latest for model in models if model.name == name}
    assert found == {"1": True, "two": False}
    assert {"1", "two"} <= set(models.to_frame().query("name == @name")["version"])


def test_a_version_is_asked_by_name(client: Client, name: str) -> None:
    assert client.predict(name, ROWS).version == "1"
    assert client.predict(f"{name}@two", ROWS).version == "two"
    assert client.predict(f"{name}@latest", ROWS).version == "1"
    with pytest.raises(StreaminferError, match="two") as raised:
        client.predict(f"{name}@three", ROWS)
    assert raised.value.code == "model_not_found"


def test_activate_and_unload_one_version(client: Client, name: str) -> None:
    assert client.activate(name, "two").latest
    assert client.predict(name, ROWS).version == "two"
    client.activate(name, "1")
    client.unload(f"{name}@two")
    assert client.predict(name, ROWS).version == "1"
    with pytest.raises(StreaminferError):
        client.predict(f"{name}@two", ROWS)


def test_a_swap_that_fails_leaves_the_old_one_serving(client: Client, name: str, tmp_path: Path) -> None:
    with pytest.raises(StreaminferError):
        client.swap(name, tmp_path, progress=False)
    assert client.predict(name, ROWS).version == "1"


def test_a_module_is_not_a_path(client: Client, name: str) -> None:
    with pytest.raises(StreaminferError, match="publish"):
        client.swap(name, torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_configure(client: Client, name: str) -> None:
    assert client.configure(name, pinned=True).pinned
    assert not client.configure(name, pinned=False, max_wait_ms=1.0).pinned
    with pytest.raises(StreaminferError) as raised:
        client.configure(name, max_batch_size=0)
    assert raised.value.field == "max_batch_size"


def test_a_split_is_shown_and_sticks_to_its_key(client: Client, name: str) -> None:
    client.route(name, {"1": 0.5, "two": 0.5})
    try:
        chosen = {key: client.predict(name, ROWS, key=key).version for key in map(str, range(30))}
        assert set(chosen.values()) == {"1", "two"}
        assert {key: client.predict(name, ROWS, key=key).version for key in chosen} == chosen
        report = client.routed(name)
        assert sum(arm.requests for arm in report.arms) == 60
        assert report.to_frame()["version"].tolist() == ["1", "two"]
        assert "share" in report._repr_html_()
    finally:
        client.route(name, None)
    assert {client.predict(name, ROWS, key=key).version for key in chosen} == {"1"}


@pytest.mark.parametrize("arms", [{"1": 0.9}, {"1": 0.5, "nope": 0.5}, {}, {"1": 2.0}])
def test_a_split_that_cannot_be(client: Client, name: str, arms: dict[str, float]) -> None:
    with pytest.raises(StreaminferError) as raised:
        client.route(name, arms)
    assert (raised.value.field or "").startswith("arms")


def test_a_shadow_is_compared(client: Client, name: str) -> None:
    report = client.route(name, {"1": 1.0}, shadow="two")
    assert report.shadow is not None
    assert report.shadow.version == "two"
    client.route(name, None)


def test_an_answer_that_was_kept_says_so(client: Client, name: str) -> None:
    assert not client.predict(name, ROWS, cache=True).cached
    again = client.predict(name, ROWS, cache=True)
    assert again.cached
    assert again.labels == client.predict(name, ROWS).labels


@pytest.mark.parametrize("options", [{"priority": 1000}, {"deadline_ms": 0.0}, {"key": ""}])
def test_options_that_cannot_be(client: Client, options: Any) -> None:
    with pytest.raises(StreaminferError) as raised:
        client.predict("digits", ROWS, **options)
    assert raised.value.field == next(iter(options))


def test_reload(server_client: Client, embedded_client: Client) -> None:
    assert server_client.reload().models == []
    with pytest.raises(StreaminferError, match="configuration"):
        embedded_client.reload()


def test_what_a_name_means_may_change(client: Client, name: str) -> None:
    """The signatures that a client has seen are no reason to refuse what the model takes by now."""

    class Sum(torch.nn.Module):
        def forward(self, pair: torch.Tensor) -> torch.Tensor:
            return pair.sum(1)

    client.predict(name, ROWS)
    client.publish(name, Sum(), torch.zeros(2, 2, dtype=torch.float64), **THREAD)
    assert client.predict(name, np.array([[1.5, 2.0]])).array.tolist() == [3.5]
    assert client.predict(name, [1.0, 2.0]).array.tolist() == [3.0]


def test_a_load_reports_how_far_it_is() -> None:
    from jupyter_streaminfer.client.models import _step
    from jupyter_streaminfer.protocol import LoadProgress, ModelStatus

    def loading(version: str, age_s: float, progress: LoadProgress | None) -> ModelStatus:
        return ModelStatus(
            name="m", version=version, state="loading", path="", placement="", age_s=age_s, progress=progress
        )

    old, new = loading("1", 60.0, None), loading("2", 1.0, LoadProgress("reading", 5, 10))
    assert _step("m", [old, new]) == Step("m: reading", 5, 10)
    assert _step("other", [old, new]) is None
    assert _step("m", [old]) is None
