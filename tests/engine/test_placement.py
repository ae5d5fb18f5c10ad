"""Where a model computes when nobody says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyter_streaminfer.engine import folder, source
from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.source import spec_of
from jupyter_streaminfer.protocol import LoadModel


@pytest.fixture(autouse=True)
def _in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "DEFAULT_PLACEMENT", "process")


def placed(path: Path, placement: str = "auto", configured: str = "auto") -> str:
    request = LoadModel(name="m", path=str(path), placement=placement)  # type: ignore[arg-type]
    return spec_of(request, EngineConfig(placement=configured), None).placement  # type: ignore[arg-type]


def model(path: Path, config: object) -> Path:
    path.mkdir()
    (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (path / "model.safetensors").write_bytes(b"")
    return path


def test_a_light_model_computes_in_a_thread_and_others_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    light = model(tmp_path / "light", {"architectures": ["ExportedProgram"]})
    assert placed(light) == "thread"
    assert placed(model(tmp_path / "language", {"architectures": ["LlamaForCausalLM"]})) == "process"
    monkeypatch.setattr(folder, "LIGHT_BYTES", -1)
    assert placed(light) == "process"


def test_who_says_where_is_heard(tmp_path: Path) -> None:
    light = model(tmp_path / "light", {"architectures": ["MlpClassifier"]})
    assert placed(light, "process") == "process"
    assert placed(light, configured="process") == "process"
    assert placed(light, "thread", configured="process") == "thread"


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"architectures": 5}', '{"architectures": []}', "\0", '"' + "x" * 2**21]
)
def test_a_folder_that_cannot_be_read_is_left_to_the_load(tmp_path: Path, config: str) -> None:
    assert placed(model(tmp_path / "broken", config)) == "process"


def test_a_factory_computes_in_a_process_wherever_others_do(tmp_path: Path) -> None:
    assert placed(Path("package.models:build"), configured="thread") == "process"
    assert placed(Path("package.models:build"), "thread") == "thread"
