"""A stream as a cell's result, in real kernels."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from tiny_models import ENDLESS

from jupyter_streaminfer.widgets.bundle import STREAM_MIME, WIDGET_MIME

TIMEOUT_S = 120
CELL = """
from jupyter_streaminfer.client.connect import embedded
client = embedded()
client.load("tiny", {path!r})
stream = client.generate("tiny", "The quick", max_tokens={tokens}, temperature=0, ignore_eos=True)
stream
"""


@pytest.fixture
def cell(long_llama: Path) -> str:
    return CELL.format(path=str(long_llama), tokens=40)


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a kernel that nobody watches, also when the tests run inside Jupyter."""
    for variable in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def kernel() -> Iterator[BlockingKernelClient]:
    """A kernel that a frontend watches."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, "JPY_SESSION_NAME": "a notebook"})
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=TIMEOUT_S)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def next_message(kernel: BlockingKernelClient, *kinds: str) -> Any:
    """The next message of one of these types on the kernel's output channel."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            message = kernel.get_iopub_msg(timeout=deadline - time.monotonic())
        except queue.Empty:
            break
        assert message["msg_type"] != "error", message["content"]
        if message["msg_type"] in kinds:
            return message
    raise AssertionError(f"no message {kinds} within {TIMEOUT_S} s")


def test_a_run_that_nobody_watches_holds_the_final_text_and_repeats_itself(
    unwatched: None, cell: str, tmp_path: Path
) -> None:
    """An update of a display is dropped by nbval: what the first one shows is what it compares."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    NotebookClient(notebook, kernel_name="python3", timeout=TIMEOUT_S).execute()
    (output,) = notebook.cells[0].outputs
    assert output.data["text/plain"] == output.data[STREAM_MIME]["text"]
    assert output.data[STREAM_MIME]["state"] == "completed"
    assert WIDGET_MIME not in output.data

    file = tmp_path / "stream.ipynb"
    nbformat.write(notebook, file)
    options = ["--nbval", "--nbval-cell-timeout", str(TIMEOUT_S), "--noconftest", "-p", "no:cacheprovider"]
    checked = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_a_watched_display_is_finished_from_the_background_while_a_later_cell_runs(
    kernel: BlockingKernelClient, cell: str, tmp_path: Path
) -> None:
    """The later cell ends the stream itself: one that ended by itself once was complete before it was shown."""
    flag = tmp_path / "flag"
    shown_by = kernel.execute(cell.replace("max_tokens=40", f"max_tokens={ENDLESS}"))
    wait = f"while not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.01)"
    kernel.execute(f"import pathlib, time\nstream.cancel()\n{wait}")
    first = next_message(kernel, "display_data")
    while "starting" in first["content"]["data"]["text/plain"]:  # the load's progress bar
        first = next_message(kernel, "display_data")
    assert WIDGET_MIME in first["content"]["data"]
    assert STREAM_MIME not in first["content"]["data"], "no page reaches an engine inside the kernel"
    assert first["content"]["data"]["text/plain"].endswith("[streaming…]")

    last = next_message(kernel, "update_display_data")
    assert not flag.exists()
    assert last["content"]["transient"] == first["content"]["transient"]
    assert last["parent_header"]["msg_id"] == shown_by
    data = last["content"]["data"]
    assert data[STREAM_MIME]["state"] == "cancelled"
    assert data["text/plain"] == data[STREAM_MIME]["text"] + "\n\n[stopped]"
    assert WIDGET_MIME not in data
    flag.touch()
