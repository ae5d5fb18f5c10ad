"""The extension's start, what it tells kernels, its activity, and its end."""

import asyncio
import gc
import json
import os
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tiny_models import ENDLESS
from traitlets import TraitError

from jupyter_streaminfer.engine import Engine, EngineConfig
from jupyter_streaminfer.server.address import SECRET_VARIABLE, URL_VARIABLE, local_url
from jupyter_streaminfer.server.app import StreaminferApp

from .conftest import TIMEOUT_S, logged
from .test_connection import GREEDY, is_terminal


async def test_the_collector_does_not_look_through_what_the_servers_packages_are(app: StreaminferApp) -> None:
    """It did, when streams had come and gone, and one request in thousands took 0.2 s."""
    assert gc.get_freeze_count() > 50_000
    await app.stop_extension()
    assert gc.get_freeze_count() == 0


def test_the_bounds_are_the_engines_own(app: StreaminferApp) -> None:
    for field in EngineConfig.__dataclass_fields__:
        assert app.class_traits(config=True)[field].help
        assert getattr(app.engine.config, field) == getattr(app, field)
    assert app.engine.config.cache_bytes == 160 * 2**20


@pytest.mark.parametrize(
    ("name", "value"), [("placement", "remote"), ("max_memory_used", 1.5), ("heartbeat_s", 0), ("max_connections", 0)]
)
def test_a_bound_that_is_none_is_refused(name: str, value: object) -> None:
    with pytest.raises(TraitError):
        StreaminferApp(**{name: value})


def test_kernels_started_from_now_on_know_the_address(app: StreaminferApp, jp_http_port: int) -> None:
    assert os.environ[URL_VARIABLE] == f"http://localhost:{jp_http_port}/a%40b/"
    assert os.environ[SECRET_VARIABLE] == app.secret.value


async def test_a_kernel_of_this_server_gets_in_with_what_it_inherits(
    app: StreaminferApp, http_server, jp_serverapp
) -> None:
    """A real kernel process, its environment as Jupyter makes it, asks the server from its own side."""
    manager = jp_serverapp.kernel_manager
    assert isinstance(manager, AsyncMappingKernelManager)
    kernel = await manager.start_kernel(kernel_name="python3")
    client = manager.get_kernel(kernel).client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=TIMEOUT_S)
        code = (
            "import os, urllib.request as u\n"
            f"url, secret = os.environ['{URL_VARIABLE}'], os.environ['{SECRET_VARIABLE}']\n"
            "request = u.Request(url + 'streaminfer/api/health', headers={'Authorization': 'streaminfer ' + secret})\n"
            "answer = u.urlopen(request).read().decode()"
        )
        reply = await client.execute_interactive(code, user_expressions={"answer": "answer"}, timeout=TIMEOUT_S)
        content = reply["content"]
        assert content["status"] == "ok", content
        assert '"status":"ok"' in content["user_expressions"]["answer"]["data"]["text/plain"]
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(kernel, now=True)


@pytest.mark.parametrize(
    ("traits", "url"),
    [
        ({"ip": ""}, "http://127.0.0.1:8888/a%40b/"),
        ({"ip": "0.0.0.0"}, "http://127.0.0.1:8888/a%40b/"),
        ({"ip": "::"}, "http://[::1]:8888/a%40b/"),
        ({"ip": "::1"}, "http://[::1]:8888/a%40b/"),
        ({"ip": "localhost"}, "http://localhost:8888/a%40b/"),
        ({"ip": "10.1.2.3", "port": 9999}, "http://10.1.2.3:9999/a%40b/"),
        ({"ip": "127.0.0.1", "ssl_options": {"certfile": "cert.pem"}}, "https://127.0.0.1:8888/a%40b/"),
        ({"sock": "/tmp/a b/jupyter.sock"}, "http+unix://%2Ftmp%2Fa%20b%2Fjupyter.sock/a%40b/"),
        ({"ip": "127.0.0.1", "base_url": "/"}, "http://127.0.0.1:8888/"),
    ],
)
def test_the_local_address(traits: dict[str, Any], url: str) -> None:
    assert local_url(ServerApp(**{"port": 8888, "base_url": "/a%40b/"} | traits)) == url


class TestPreload:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"preload": ["no-such-model"]}

    async def test_a_model_that_cannot_be_loaded_stops_nothing(self, app: StreaminferApp, request_api, caplog) -> None:
        await asyncio.wait_for(asyncio.gather(*app._loads, return_exceptions=True), TIMEOUT_S)
        assert "no-such-model" in logged(caplog)
        assert (await request_api("api", "health"))[0] == 200


@pytest.mark.parametrize("frames", ["tornado"])
async def test_jupyters_own_pings_are_off(app: StreaminferApp, connect, frames: str) -> None:
    """Ours replace them; Tornado would take Jupyter's milliseconds for seconds."""
    await connect()
    [connection] = app.connections
    assert connection.transport.handler.ping_callback is None
    assert connection.transport._ping_coroutine is None


async def test_work_keeps_the_server_alive_and_an_idle_socket_does_not(
    app: StreaminferApp, engine: Engine, connect, jp_serverapp: ServerApp, monkeypatch
) -> None:
    times = jp_serverapp.web_app.settings["last_activity_times"]
    times.pop("streaminfer", None)
    socket = await connect()
    await socket.ask(type="ping", id="p")
    assert not jp_serverapp.extension_manager.any_activity()
    assert "streaminfer" not in times

    socket.send(**GREEDY, id="g", max_tokens=ENDLESS)
    await socket.receive()
    asked = times["streaminfer"]
    assert app.current_activity() == {"tiny": 1}
    assert jp_serverapp.extension_manager.any_activity()
    app.activity._look()
    assert jp_serverapp.web_app.last_activity() >= times["streaminfer"] > asked

    engine.cancel(engine.streams()[0].stream)
    await socket.receive_until(is_terminal)
    assert app.current_activity() is None


class TestStopping:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"drain_s": 0.0}

    async def test_it_ends_everything_in_order(
        self, app: StreaminferApp, engine: Engine, connect, other_threads: set[threading.Thread]
    ) -> None:
        """Streams end as cancelled, connections close with 1001, and no task, thread or variable is left."""
        before = asyncio.all_tasks()
        ours = [each for each in set(threading.enumerate()) - other_threads if each.name.startswith("streaminfer")]
        sockets = [await connect() for _ in range(3)]
        for socket in sockets:
            socket.send(**GREEDY, id="g", max_tokens=ENDLESS)
            await socket.receive()
        assert len(ours) >= len(engine.models())
        clients = [asyncio.create_task(socket.receive_until(is_terminal)) for socket in sockets]
        await asyncio.wait_for(app.stop_extension(), TIMEOUT_S)
        for client, socket in zip(clients, sockets, strict=True):
            ended = (await client)[-1]
            assert (ended["type"], ended["reason"]) == ("cancelled", "shutdown")
            assert await socket.closed() == 1001
        assert not app.connections
        assert len(app.gate) == 0
        assert URL_VARIABLE not in os.environ
        assert SECRET_VARIABLE not in os.environ
        for thread in ours:
            thread.join(TIMEOUT_S)
        assert not [thread for thread in ours if thread.is_alive()]
        async with asyncio.timeout(TIMEOUT_S):
            while left := [task for task in asyncio.all_tasks() - before if not task.done()]:
                await asyncio.wait(left)
        await app.stop_extension()

    async def test_no_worker_process_is_left(self, app: StreaminferApp, request_api, connect, long_llama: Path) -> None:
        before = set(psutil.Process().children(recursive=True))
        body = json.dumps({"name": "apart", "path": str(long_llama), "placement": "process"})
        status, model = await request_api("api", "models", method="POST", body=body, request_timeout=120)
        assert (status, model["placement"]) == (200, "process")
        socket = await connect()
        socket.send(**{**GREEDY, "model": "apart"}, id="g", max_tokens=ENDLESS)
        await socket.receive_until(lambda message: message["type"] == "delta")
        workers = set(psutil.Process().children(recursive=True)) - before
        assert workers
        await asyncio.wait_for(app.stop_extension(), TIMEOUT_S)
        assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]


class TestDraining:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"drain_s": TIMEOUT_S, "stop_timeout_s": 2 * TIMEOUT_S}

    async def test_what_runs_comes_to_its_end_and_nothing_new_begins(
        self, app: StreaminferApp, engine: Engine, connect, request_api
    ) -> None:
        running, other = await connect(), await connect()
        running.send(**GREEDY, id="g", max_tokens=3000)
        attached = await running.receive()
        stopping = asyncio.create_task(app.stop_extension())
        refused = await other.ask(**GREEDY, id="late")
        assert (refused["type"], refused["code"], refused["retryable"]) == ("error", "overloaded", True)
        assert refused["retry_after_ms"] > 0
        assert (await request_api("api", "health"))[1]["status"] == "stopping"
        other.send(type="attach", id="a", stream=attached["stream"])
        for socket in (running, other):
            assert (await socket.receive_until(is_terminal))[-1]["type"] == "completed"
            assert await socket.closed() == 1001
        await asyncio.wait_for(stopping, TIMEOUT_S)
        assert app.engine is None


class TestStopTimeout:
    @pytest.fixture
    def extension_traits(self) -> dict[str, Any]:
        return {"stop_timeout_s": 0.2}

    async def test_stopping_is_bounded(self, app: StreaminferApp, connect, caplog) -> None:
        """`stop_extension` is awaited without a limit by Jupyter: an engine that hangs would hang the whole stop."""
        socket = await connect()
        app.engine.close = asyncio.Event().wait
        await asyncio.wait_for(app.stop_extension(), 5)
        assert "0.2 s" in caplog.text
        assert await socket.closed() == 1001
        assert not app.connections or [await asyncio.wait_for(each.ended, 5) for each in app.connections]
