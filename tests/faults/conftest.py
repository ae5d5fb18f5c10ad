"""Real servers with a small model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import small_bench  # noqa: F401 (finds the benchmarks)
from faults_bench import Server, serving
from models import folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose every token's text is its id, with a context of 2048 tokens."""
    return folder("tiny", "float32", tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def server(model: Path) -> Iterator[Server]:
    """For every scenario that needs no other configuration."""
    with serving(model, "window_tokens=64", "grace_s=5", "max_streams=200") as server:
        yield server
