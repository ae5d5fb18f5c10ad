"""The widget `TokenStream` in JupyterLab: from the server where the page reaches it, else through the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import wait_until
from notebook_page import NotebookPage
from test_stream_output import STREAM, TOKENS, document, newest

WIDGET = "from jupyter_streaminfer.widgets import TokenStream\nTokenStream(stream)"


@pytest.fixture
def widget_cell(slow_llama: Path) -> str:
    """Code that shows a stream of some seconds as a widget."""
    return STREAM.format(path=str(slow_llama), tokens=TOKENS).replace("\nstream\n", "\n" + WIDGET + "\n")


def test_the_widget_reads_the_stream_from_the_server(notebook: NotebookPage, widget_cell: str) -> None:
    notebook.run(widget_cell, notebook.busy_cell)
    notebook.wait_for_state("streaming")
    before = notebook.wait_for_text()
    assert notebook.wait_for_text(longer_than=before) > before
    stream = newest(notebook.lab)
    notebook.view.get_by_role("button", name="Stop").click()
    wait_until(lambda: document(notebook.lab, stream)["status"]["state"] == "cancelled", 1.0)
    notebook.wait_for_state("cancelled")
    assert notebook.text == document(notebook.lab, stream)["text"]
    assert notebook.busy


def test_the_widget_falls_back_to_the_kernel(notebook: NotebookPage, widget_cell: str) -> None:
    """A page that is not Jupyter's (VS Code, Colab) has no server: its text, Stop and Retry come from the kernel."""
    sockets: list[str] = []
    notebook.page.on("websocket", lambda socket: sockets.append(socket.url))
    notebook.lab.write(notebook.name, widget_cell)
    notebook.open()
    notebook.page.evaluate("document.getElementById('jupyter-config-data').textContent = ''")
    notebook.start("notebook:run-all-cells")
    notebook.wait_for_state("streaming")
    before = notebook.wait_for_text()
    assert notebook.wait_for_text(longer_than=before) > before
    first = newest(notebook.lab)
    notebook.view.get_by_role("button", name="Stop").click()
    notebook.wait_for_state("cancelled")
    assert notebook.text == document(notebook.lab, first)["text"]
    notebook.view.get_by_role("button", name="Retry").click()
    notebook.wait_for_state("streaming")
    notebook.wait_for_state("completed")
    second = newest(notebook.lab)
    assert second != first
    assert notebook.text == document(notebook.lab, second)["text"]
    assert not [url for url in sockets if "streaminfer" in url]


def test_what_its_deadline_ended_is_continued_through_the_kernel(notebook: NotebookPage, widget_cell: str) -> None:
    notebook.lab.write(notebook.name, widget_cell.replace("seed=1)", 'seed=1, deadlines={"total_ms": 1000})'))
    notebook.open()
    notebook.page.evaluate("document.getElementById('jupyter-config-data').textContent = ''")
    notebook.start("notebook:run-all-cells")
    notebook.wait_for_state("incomplete")
    first = newest(notebook.lab)
    notebook.view.get_by_role("button", name="Continue").click()
    notebook.wait_for_state("streaming")
    notebook.wait_for_state("incomplete", "completed")
    second = newest(notebook.lab)
    assert second != first
    texts = [document(notebook.lab, stream)["text"] for stream in (first, second)]
    assert all(texts)
    wait_until(lambda: notebook.text == "".join(texts))
