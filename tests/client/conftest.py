"""A client of an engine in this process, and one of a real server: most tests are the same for both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_streaminfer.client import Client, connect
from jupyter_streaminfer.client.connect import embedded

from .server_process import OURS, JupyterServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    server = JupyterServer(tmp_path_factory.mktemp("server"), base_url="/a%40b/")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server_client(server: JupyterServer, long_llama: Path) -> Iterator[Client]:
    with connect(server.url, server.token) as client:
        client.load("tiny", long_llama)
        client.load("digits")
        yield client


@pytest.fixture(scope="session")
def embedded_client(long_llama: Path) -> Iterator[Client]:
    with embedded() as client:
        client.load("tiny", long_llama)
        client.load("digits")
        yield client


@pytest.fixture(params=["embedded", "server"])
def client(request: pytest.FixtureRequest) -> Client:
    return request.getfixturevalue(f"{request.param}_client")


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without any server; returns the empty runtime folder."""
    import os

    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    return runtime
