"""A real Jupyter server with the extension, a real engine, and real tiny models made here."""

import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jupyter_server.serverapp import ServerApp
from pytest_jupyter.jupyter_server import *  # noqa: F403 (its fixtures, for this folder only: some are autouse)
from safetensors.numpy import save_file
from tornado.httpclient import HTTPClientError, HTTPResponse
from tornado.websocket import WebSocketClientConnection
from traitlets.config import Config

from jupyter_streaminfer.engine import Engine, Stream
from jupyter_streaminfer.server.app import StreaminferApp

TIMEOUT_S = 30


@pytest.fixture(autouse=True)
async def jp_asyncio_loop() -> asyncio.AbstractEventLoop:
    """The loop of the test itself, so that pytest-jupyter's server and pytest-asyncio's tests share one."""
    return asyncio.get_running_loop()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: a random classifier of rows of 64 numbers."""
    folder = tmp_path_factory.mktemp("models") / "digits"
    folder.mkdir()
    labels = [str(digit) for digit in range(10)]
    config = {"architectures": ["MlpClassifier"], "input_shape": [64], "hidden_sizes": [16], "labels": labels}
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(0)
    sizes = (64, 16, 10)
    tensors = {}
    for index, (before, after) in enumerate(itertools.pairwise(sizes)):
        tensors[f"layers.{index}.weight"] = random.standard_normal((after, before), np.float32)
        tensors[f"layers.{index}.bias"] = np.zeros(after, np.float32)
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def server_traits() -> dict[str, Any]:
    """Further `ServerApp` traits; tests override it."""
    return {}


@pytest.fixture
def extension_traits() -> dict[str, Any]:
    """Further `StreaminferApp` traits; tests override it."""
    return {}


@pytest.fixture
def frames() -> str:
    """Who parses the WebSocket's frames; tests that must hold for either go through both."""
    return "auto"


@pytest.fixture
def jp_server_config(server_traits: dict[str, Any], extension_traits: dict[str, Any], frames: str) -> Config:
    return Config(
        {
            "ServerApp": {"jpserver_extensions": {"jupyter_streaminfer": True}, **server_traits},
            "StreaminferApp": {
                "cache_bytes": 160 * 2**20,
                "threads": 1,
                "placement": "thread",
                "frames": frames,
                **extension_traits,
            },
        }
    )


@pytest.fixture
def app(jp_serverapp: ServerApp, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[StreaminferApp]:
    """The extension, started, with its engine and no model."""
    jp_asyncio_loop.run_until_complete(jp_serverapp._post_start())
    [app] = jp_serverapp.extension_manager.extension_apps["jupyter_streaminfer"]
    yield app
    jp_asyncio_loop.run_until_complete(app.stop_extension())


@pytest.fixture
def other_threads() -> set[threading.Thread]:
    """Those of earlier tests, engines among them, that live as long as the run."""
    return set(threading.enumerate())


@pytest.fixture
def engine(
    app: StreaminferApp,
    other_threads: set[threading.Thread],
    jp_asyncio_loop: asyncio.AbstractEventLoop,
    long_llama: Path,
    digits: Path,
) -> Engine:
    """The server's engine with two models loaded: ``tiny`` generates, ``digits`` predicts."""
    assert app.engine is not None
    jp_asyncio_loop.run_until_complete(app.engine.load("tiny", str(long_llama)))
    jp_asyncio_loop.run_until_complete(app.engine.load("digits", str(digits)))
    return app.engine


class Socket:
    """A client's end of the native WebSocket that reads messages as dictionaries."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self.connection = connection

    def send(self, **message: Any) -> None:
        self.connection.write_message(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        frame = await asyncio.wait_for(self.connection.read_message(), TIMEOUT_S)
        assert frame is not None, f"closed: {self.connection.close_code} {self.connection.close_reason}"
        return json.loads(frame)

    async def receive_until(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Everything up to the first message that is ``wanted``, which is the last of them."""
        messages = [await self.receive()]
        while not wanted(messages[-1]):
            messages.append(await self.receive())
        return messages

    async def ask(self, **message: Any) -> dict[str, Any]:
        """The answer to one request, whatever else comes meanwhile."""
        self.send(**message)
        return (await self.receive_until(lambda answer: answer.get("id") == message["id"]))[-1]

    async def closed(self) -> int | None:
        """The close code, once the server closed; None where it just dropped the connection."""
        while await asyncio.wait_for(self.connection.read_message(), TIMEOUT_S) is not None:
            pass
        return self.connection.close_code


@pytest.fixture
def connect(app: StreaminferApp, jp_ws_fetch: Any) -> Callable[..., Awaitable[Socket]]:
    """Opens WebSocket connections, authenticated with the server's token unless ``headers`` say otherwise."""

    async def connect(**options: Any) -> Socket:
        return Socket(await jp_ws_fetch("streaminfer", "ws", **options))

    return connect


@pytest.fixture
def request_api(app: StreaminferApp, jp_fetch: Any) -> Callable[..., Awaitable[tuple[int, Any]]]:
    """Sends a REST request to an address under ``streaminfer/``; returns the status and the decoded body."""

    async def request_api(*path: str, **options: Any) -> tuple[int, Any]:
        response: HTTPResponse | None
        try:
            response = await jp_fetch("streaminfer", *path, **options)
        except HTTPClientError as error:
            response = error.response
            if response is None:
                raise
        return response.code, json.loads(response.body) if response.body else None

    return request_api


async def ended(stream: Stream) -> None:
    """Wait for a stream's end without reading it, so that nobody is too late to."""
    more = asyncio.Event()
    async with asyncio.timeout(TIMEOUT_S), stream.cursor(notify=more.set, snapshot=True):
        while not stream.closed:
            await more.wait()
            more.clear()


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """Everything that was logged so far, the fixtures' part included."""
    records = caplog.get_records("setup") + caplog.get_records("call")
    return "\n".join(record.getMessage() for record in records)
