"""Real kernels, started by a real server: what a notebook's cell sees."""

import queue
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client, connect

from .server_process import JupyterServer

WAIT_S = 60
TELLING = """
def tell():
    while not interrupt._watched:
        time.sleep(0.01)
    print("begun", flush=True)

interrupt._watched.clear()
threading.Thread(target=tell).start()
"""
"""The beginning of a cell: it says when the cell's reading has begun."""


class Kernel:
    """A kernel that the server started, as a frontend uses it."""

    def __init__(self, server: JupyterServer) -> None:
        self.server = server
        self.id = server.api("POST", "kernels", {"name": "python3"})["id"]
        self.client = BlockingKernelClient(connection_file=str(server.runtime / f"kernel-{self.id}.json"))
        self.client.load_connection_file()
        self.client.start_channels()
        self._wait_for_it()

    def _wait_for_it(self) -> None:
        """Wait until it answers and is heard on every channel.

        jupyter_client takes a kernel for dead that does not beat for a second, as one that begins on a busy machine.
        """
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return self.client.wait_for_ready(timeout=WAIT_S)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise

    def start(self, code: str) -> str:
        return str(self.client.execute(code))

    def output(self, id: str, until: str | None = None) -> dict[str, Any]:
        """What a cell printed, showed and raised, at its end or once it has printed ``until``."""
        seen: dict[str, Any] = {"stdout": "", "error": None, "result": None}
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            except queue.Empty:
                raise AssertionError(f"the cell did not end; so far: {seen}") from None
            if message["parent_header"].get("msg_id") != id:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream" if content["name"] == "stdout":
                    seen["stdout"] += content["text"]
                    if until is not None and until in seen["stdout"]:
                        return seen
                case "error":
                    seen["error"] = content
                case "execute_result" | "display_data":
                    seen["result"] = content["data"]
                case "status" if content["execution_state"] == "idle":
                    return seen

    def run(self, code: str) -> str:
        seen = self.output(self.start(code))
        assert seen["error"] is None, seen["error"]
        return str(seen["stdout"]).strip()

    def interrupt(self) -> None:
        self.server.api("POST", f"kernels/{self.id}/interrupt")

    def end(self) -> None:
        self.client.stop_channels()
        self.server.api("DELETE", f"kernels/{self.id}")


@pytest.fixture(scope="module")
def password_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """Discovery by the environment alone: the runtime file of a server with a password has no token.

    It runs on uvloop, where the system has that, so that all of this is seen to work there as well.
    """
    configuration = "from jupyter_streaminfer.server.event_loop import use_uvloop; use_uvloop()"
    server = JupyterServer(
        tmp_path_factory.mktemp("kernels"),
        base_url="/a%40b/",
        token="for-the-test",
        configuration="" if sys.platform == "win32" else configuration,
    )
    (file,) = server.runtime.glob("jpserver-*.json")
    file.write_text(file.read_text().replace("for-the-test", ""))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def outside(password_server: JupyterServer, long_llama: Path) -> Iterator[Client]:
    with connect(password_server.url, password_server.token) as client:
        client.load("tiny", long_llama)
        yield client


@pytest.fixture(scope="module")
def kernels(password_server: JupyterServer, outside: Client) -> Iterator[list[Kernel]]:
    kernels = [Kernel(password_server) for _ in range(2)]
    for kernel in kernels:
        kernel.run("import jupyter_streaminfer as si; client = si.connect()")
    yield kernels
    for kernel in kernels:
        kernel.end()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what a process has loaded")
def test_the_server_runs_on_the_loop_that_its_configuration_asked_for(password_server: JupyterServer) -> None:
    assert "uvloop" in Path(f"/proc/{password_server.process.pid}/maps").read_text()


def test_a_kernel_finds_its_server(kernels: list[Kernel], password_server: JupyterServer) -> None:
    assert kernels[0].run("print(client)") == f"<Client {password_server.url}>"


def test_kernels_share_one_loaded_model(kernels: list[Kernel], outside: Client) -> None:
    code = "print(client.generate('tiny', 'The', max_tokens=24, seed=5, ignore_eos=True).wait().token_ids)"
    texts = {kernel.run(code) for kernel in kernels}
    assert len(texts) == 1
    assert str(outside.generate("tiny", "The", max_tokens=24, seed=5, ignore_eos=True).wait(WAIT_S).token_ids) in texts
    assert [model.name for model in outside.models()] == ["tiny"]


@pytest.mark.parametrize(
    "reading",
    [
        "for delta in stream: pass",
        "for delta in stream: time.sleep(0.2)",
        "stream.wait()",
        "async for delta in stream: await asyncio.sleep(0.01)",
        "async for delta in stream: await asyncio.sleep(30)",
    ],
    ids=["iterating", "in the loop's body", "waiting", "async", "in an async body"],
)
def test_interrupting_the_kernel_cancels_the_stream(reading: str, kernels: list[Kernel], outside: Client) -> None:
    """The interrupt mostly finds the loop's body running, where a generator does not get to know of it.

    It is sent once the reading has begun: one that came just before it interrupted the cell alone, and the stream ran.
    """
    kernel = kernels[0]
    id = kernel.run(
        "import time, asyncio, threading\n"
        "from jupyter_streaminfer.client import interrupt\n"
        f"stream = client.generate('tiny', 'The', max_tokens={ENDLESS}, ignore_eos=True); print(stream.id)"
    )
    cell = kernel.start(TELLING + reading)
    kernel.output(cell, until="begun")
    kernel.interrupt()
    error = kernel.output(cell)["error"]
    assert error is not None
    assert error["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert outside.attach(id).wait(WAIT_S).state == "cancelled"
    assert kernel.run("print(stream.wait(30).state)") == "cancelled"


def test_an_interrupt_later_means_no_stream(kernels: list[Kernel], outside: Client) -> None:
    """An iterator that a cell left behind half-read must not make every later interrupt a cancel."""
    kernel = kernels[0]
    id = kernel.run(
        f"stream = client.generate('tiny', 'The', max_tokens={ENDLESS}, ignore_eos=True)\n"
        "iterator = iter(stream); next(iterator); print(stream.id)"
    )
    cell = kernel.start("print('read', flush=True); time.sleep(30)")
    kernel.output(cell, until="read")
    kernel.interrupt()
    assert kernel.output(cell)["error"]["ename"] == "KeyboardInterrupt"
    assert outside.attach(id).state == "open"
    outside.cancel(id)


def test_a_stream_outlives_its_kernel(kernels: list[Kernel], password_server: JupyterServer) -> None:
    kernel = Kernel(password_server)
    id = kernel.run(
        "import jupyter_streaminfer as si; client = si.connect()\n"
        "print(client.generate('tiny', 'The', max_tokens=400, seed=1, ignore_eos=True, detached=True).id)"
    )
    kernel.end()
    code = f"print(len(client.attach({id!r}).wait().token_ids))"
    assert kernels[1].run(code) == "400"


def test_a_stream_shows_itself(kernels: list[Kernel]) -> None:
    kernel = kernels[0]
    kernel.run("stream = client.generate('tiny', 'The', max_tokens=8, seed=1, ignore_eos=True).wait()")
    seen = kernel.output(kernel.start("stream"))
    assert seen["error"] is None
    assert "text/plain" in seen["result"]


def test_a_magic_shows_its_stream_and_keeps_it(kernels: list[Kernel]) -> None:
    kernel = kernels[0]
    kernel.run("%load_ext jupyter_streaminfer")
    seen = kernel.output(kernel.start("%%streaminfer tiny --max-tokens 8 --seed 1 --ignore-eos\nThe"))
    assert seen["error"] is None
    assert kernel.run("print(len(_stream.wait().token_ids))") == "8"
    assert seen["result"]["text/plain"].strip() == kernel.run("print(_stream.text)")


def test_a_magic_that_is_refused_is_one_line(kernels: list[Kernel]) -> None:
    """No traceback, and yet the cell has failed: those that would run after it do not."""
    kernel = kernels[0]
    kernel.run("%reload_ext jupyter_streaminfer")
    cell = kernel.start("%%streaminfer nope\nThe")
    assert kernel.output(cell)["error"] is None
    while (reply := kernel.client.get_shell_msg(timeout=WAIT_S))["parent_header"].get("msg_id") != cell:
        pass
    assert reply["content"]["status"] == "error"
    assert "loaded: " in reply["content"]["evalue"]
