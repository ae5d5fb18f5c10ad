"""Reading the configuration again: what changes, what cannot, and who may ask."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_streaminfer.server.app import StreaminferApp
from jupyter_streaminfer.server.configuration import FIXED

from .conftest import TIMEOUT_S, logged

POST = {"method": "POST", "body": b""}
START = "c.StreaminferApp.max_streams = 77\n"


@pytest.fixture(autouse=True)
def hangs_up():
    """As in a terminal: under ``nohup`` the signal is ignored, and the tests of it failed there and nowhere else."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def config_file(jp_config_dir: Path) -> Path:
    """A file that Jupyter reads, as it is at the server's start."""
    file = jp_config_dir / "jupyter_server_config.py"
    file.write_text(START)
    return file


@pytest.fixture
def configured(config_file: Path, app: StreaminferApp) -> StreaminferApp:
    return app


@pytest.fixture
async def reload(configured: StreaminferApp, config_file: Path, request_api):
    await asyncio.gather(*configured._loads)

    async def reload(text: str) -> tuple[int, Any]:
        config_file.write_text(text)
        return await request_api("api", "reload", **POST)

    return reload


def test_what_cannot_change_at_run_time_are_options() -> None:
    assert set(StreaminferApp.class_own_traits(config=True)) >= FIXED


async def test_options_change_and_go_back(configured: StreaminferApp, reload) -> None:
    assert configured.max_streams == configured.engine.config.max_streams == 77
    text = "c.StreaminferApp.max_streams = 5\nc.StreaminferApp.max_connections = 3\nc.StreaminferApp.max_queue = 9\n"
    status, changed = await reload(text)
    assert (status, changed["options"]) == (200, {"max_connections": "3", "max_streams": "5"})
    assert changed["restart"] == ["max_queue"]
    assert configured.engine.config.max_streams == 5
    assert configured.engine.config.max_queue != 9
    configured.gate.enter("a")
    configured.gate.enter("b")
    configured.gate.enter("c")
    assert "3 connections" in str((await refused(configured)).args[0])
    for client in "abc":
        configured.gate.leave(client)
    assert (await reload(text))[1] == {"models": [], "options": {}, "restart": []}
    assert (await reload(""))[1]["options"] == {"max_connections": "1000", "max_streams": "1000"}
    assert configured.engine.config.max_streams == 1000


async def refused(app: StreaminferApp) -> Exception:
    with pytest.raises(Exception, match="connections") as error:
        app.gate.check("d")
    return error.value


async def test_what_was_set_by_another_hand_stays(configured: StreaminferApp, reload) -> None:
    """The tests' own configuration is in no file, as are a program's that starts a server itself."""
    threads, placement = configured.threads, configured.placement
    assert (await reload(START + "c.StreaminferApp.grace_s = 4.5\n"))[1]["options"] == {"grace_s": "4.5"}
    assert (configured.threads, configured.placement) == (threads, placement) == (1, "thread")


BROKEN = {
    "no Python": "c.StreaminferApp.max_streams = = 5",
    "raises": "c.StreaminferApp.max_streams = 5\n1 / 0",
    "exits": "c.StreaminferApp.max_streams = 5\nraise SystemExit(3)",
    "a value that cannot be": "c.StreaminferApp.grace_s = 9.0\nc.StreaminferApp.max_streams = 0",
    "a type that cannot be": "c.StreaminferApp.grace_s = 9.0\nc.StreaminferApp.max_streams = 'many'",
    "a model that cannot be": "c.StreaminferApp.grace_s = 9.0\nc.StreaminferApp.models = {'a': {'pth': 'x'}}",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_file_changes_nothing_and_says_why(configured: StreaminferApp, reload, name: str) -> None:
    status, error = await reload(BROKEN[name])
    assert (status, error["code"]) == (400, "invalid_request")
    assert "nothing was changed" in error["message"]
    assert (configured.max_streams, configured.grace_s) == (77, 30.0)
    assert configured.models == {}
    assert (await reload("c.StreaminferApp.max_streams = 6\n"))[1]["options"] == {"max_streams": "6"}


async def test_a_json_file_and_the_base_file_count_too(configured: StreaminferApp, reload, jp_config_dir: Path) -> None:
    (jp_config_dir / "jupyter_config.json").write_text('{"StreaminferApp": {"max_streams": 4, "grace_s": 1.0}}')
    (jp_config_dir / "jupyter_server_config.json").write_text('{"StreaminferApp": {"max_streams": 8}}')
    assert (await reload(""))[1]["options"] == {"grace_s": "1.0", "max_streams": "8"}


async def test_the_command_line_goes_first(configured: StreaminferApp, reload) -> None:
    configured.serverapp.cli_config.StreaminferApp.max_streams = 12
    assert (await reload("c.StreaminferApp.max_streams = 5\n"))[1]["options"] == {"max_streams": "12"}


async def test_models_come_change_and_go(configured: StreaminferApp, reload, request_api, digits: Path) -> None:
    def models(**fields: Any) -> str:
        return f"{START}c.StreaminferApp.models = {{'mine': { ({'path': str(digits)} | fields)!r}}}\n"

    by_hand = {"name": "other", "path": str(digits)}
    await request_api("api", "models", method="POST", body=json.dumps(by_hand))
    status, changed = await reload(models())
    assert (status, len(changed["models"]), changed["options"]) == (200, 1, {})
    assert (await request_api("api", "models", "mine"))[1]["state"] == "ready"
    assert (await reload(models()))[1]["models"] == []
    await reload(models(version="two"))
    assert (await request_api("api", "models", "mine"))[1]["version"] == "two"
    [told] = (await reload(models(version="three", path="/no/such/folder")))[1]["models"]
    assert "mine" in told
    assert (await request_api("api", "models", "mine"))[1]["version"] == "two"
    await reload("")
    assert (await request_api("api", "models", "mine"))[0] == 404
    assert (await request_api("api", "models", "other"))[1]["state"] == "ready"


async def hung_up(app: StreaminferApp) -> None:
    """Send the signal, and wait for what it starts."""
    before = set(app._loads)
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(TIMEOUT_S):
        while not (started := app._loads - before):  # noqa: ASYNC110 (the signal's handler starts a task)
            await asyncio.sleep(0)
        await asyncio.wait(started)


async def test_a_signal_does_the_same(configured: StreaminferApp, reload, config_file: Path, caplog) -> None:
    config_file.write_text("c.StreaminferApp.max_streams = 5\n")
    await hung_up(configured)
    assert configured.engine.config.max_streams == 5
    assert "max_streams" in logged(caplog)
    config_file.write_text("1 / 0")
    await hung_up(configured)
    assert "ZeroDivisionError" in logged(caplog)
    await configured.stop_extension()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


class TestASignalThatIsTaken:
    @pytest.fixture(autouse=True)
    def other_handler(self, hangs_up):
        other = signal.signal(signal.SIGHUP, lambda *_: None)
        yield
        signal.signal(signal.SIGHUP, other)

    async def test_it_is_left_to_who_has_it(self, app: StreaminferApp) -> None:
        taken = signal.getsignal(signal.SIGHUP)
        assert app._hang_up._loop is None
        await app.stop_extension()
        assert signal.getsignal(signal.SIGHUP) is taken


PROGRAM = """
import asyncio, signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from jupyter_streaminfer.server.reload import HangUp

async def main():
    hang_up = HangUp(lambda: print("reload", flush=True))
    hang_up.start()
    print("started", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_a_terminal_that_closes_still_ends_the_server() -> None:
    """With a plain handler a server whose window was closed would go on for ever."""
    primary, secondary = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + PROGRAM],
        stdin=secondary,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as server:
        os.close(secondary)
        assert server.stdout is not None
        assert server.stdout.readline() == "started\n"
        server.send_signal(signal.SIGHUP)
        assert server.stdout.readline() == "reload\n", "a signal from elsewhere, with the terminal there"
        os.close(primary)
        assert server.wait(TIMEOUT_S) == -signal.SIGHUP
        assert server.stdout.read() == ""
