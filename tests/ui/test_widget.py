"""The widget `TokenStream` in JupyterLab: from the server where the page reaches it, else through the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import wait_until
from notebook_page import NotebookPage
from test_stream_output import ENDLESS, STREAM, TOKENS, document, newest

WIDGET = "from jupyter_streaminfer.widgets import TokenStream\nTokenStream(stream)"
HIDE = """
const about = document.getElementById('jupyter-config-data');
window.hidden = about.textContent;
about.textContent = '';
"""
"""Makes the page one that is not Jupyter's, as VS Code's and Colab's are: it does not say where its server is."""
UNHIDE = "document.getElementById('jupyter-config-data').textContent = window.hidden"


def shown(path: Path, tokens: int) -> str:
    """Code that shows a stream as a widget."""
    return STREAM.format(path=str(path), tokens=tokens).replace("\nstream\n", "\n" + WIDGET + "\n")


@pytest.fixture
def widget_cell(slow_llama: Path) -> str:
    """Code that shows a stream of some seconds as a widget."""
    return shown(slow_llama, TOKENS)


@pytest.fixture
def elsewhere(notebook: NotebookPage) -> Iterator[Callable[[str], list[str]]]:
    """Runs a cell in a page without a server; returns the addresses of the WebSockets that are opened from then on."""
    sockets: list[str] = []

    def run(cell: str) -> list[str]:
        notebook.lab.write(notebook.name, cell)
        notebook.open()
        notebook.page.evaluate(HIDE)
        notebook.page.on("websocket", lambda socket: sockets.append(socket.url))
        notebook.start("notebook:run-all-cells")
        return sockets

    yield run
    notebook.page.evaluate(UNHIDE)


def test_the_widget_reads_the_stream_from_the_server(notebook: NotebookPage, slow_llama: Path) -> None:
    notebook.run(shown(slow_llama, ENDLESS), notebook.busy_cell)
    notebook.wait_for_state("streaming")
    before = notebook.wait_for_text()
    assert notebook.wait_for_text(longer_than=before) > before
    stream = newest(notebook.lab)
    notebook.view.get_by_role("button", name="Stop").click()
    wait_until(lambda: document(notebook.lab, stream)["status"]["state"] == "cancelled", 1.0)
    notebook.wait_for_state("cancelled")
    assert notebook.text == document(notebook.lab, stream)["text"]
    assert notebook.busy


def test_the_widget_falls_back_to_the_kernel(
    notebook: NotebookPage, elsewhere: Callable[[str], list[str]], widget_cell: str
) -> None:
    """A page that is not Jupyter's has no server: its text, Stop and Retry come from the kernel."""
    sockets = elsewhere(widget_cell)
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


def test_what_its_deadline_ended_is_continued_through_the_kernel(
    notebook: NotebookPage, elsewhere: Callable[[str], list[str]], widget_cell: str
) -> None:
    elsewhere(widget_cell.replace("seed=1)", 'seed=1, deadlines={"total_ms": 1000})'))
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
