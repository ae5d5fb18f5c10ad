"""What a notebook keeps of a widget, in real kernels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

from jupyter_streaminfer.widgets.bundle import WIDGET_MIME
from jupyter_streaminfer.widgets.saved import SavedView

TIMEOUT_S = 120
HOSTILE = "<script>alert(1)</script> & \x1b[31m"
CELL = f"""
from jupyter_streaminfer.widgets.saved import SavedView

class Said(SavedView):
    settled = False

    def text(self):
        return {HOSTILE!r} + str(self.settled)

    def settle(self):
        self.settled = True

said = Said()
said
"""


class Said(SavedView):
    """Shows what it was told to say."""

    said = HOSTILE

    def text(self) -> str:
        return self.said


class Publisher:
    """Takes the place of what carries a kernel's outputs."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []

    def __call__(self, data: dict[str, Any], **about: Any) -> None:
        self.published.append({"data": data, **about})


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a shell in this process, which somebody watches, was told to show."""
    shell = InteractiveShell.instance()
    publisher = Publisher()
    monkeypatch.setenv("JPY_SESSION_NAME", "a notebook")
    monkeypatch.setattr(shell.display_pub, "publish", publisher)
    yield publisher.published
    InteractiveShell.clear_instance()


def test_a_notebook_that_was_run_through_keeps_text_and_html(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(variable, raising=False)
    cells = [nbformat.v4.new_code_cell(CELL), nbformat.v4.new_code_cell("said.keep(); said.close()")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", timeout=TIMEOUT_S).execute()
    (output,) = notebook.cells[0].outputs
    assert output.data["text/plain"] == HOSTILE + "True"
    assert "<script" not in output.data["text/html"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in output.data["text/html"]
    assert WIDGET_MIME in output.data
    assert notebook.cells[1].outputs == []

    file = tmp_path / "said.ipynb"
    nbformat.write(notebook, file)
    options = ["--nbval", "--nbval-cell-timeout", str(TIMEOUT_S), "--noconftest", "-p", "no:cacheprovider"]
    checked = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_what_is_kept_is_brought_up_to_date_and_outlives_the_widget(
    published: list[dict[str, Any]],
) -> None:
    widget = Said()
    widget._ipython_display_()
    assert published[0]["data"][WIDGET_MIME]["model_id"] == widget.model_id
    widget.said = "more"
    widget.keep()
    assert published[1]["update"] is True
    assert published[1]["transient"] == published[0]["transient"]
    assert published[1]["data"]["text/plain"] == "more"
    assert WIDGET_MIME in published[1]["data"]
    widget.close()
    assert set(published[2]["data"]) == {"text/plain", "text/html"}
    widget.close()
    widget._ipython_display_()
    assert len(published) == 4
    assert set(published[3]["data"]) == {"text/plain", "text/html"}, "a closed one is still a text"


def test_a_script_prints_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    Said()._ipython_display_()
    assert capsys.readouterr().out == HOSTILE + "\n"


def test_it_is_a_part_of_other_widgets() -> None:
    inner = Said()
    for box in (ipywidgets.HBox([inner]), ipywidgets.VBox([inner]), ipywidgets.Tab([inner])):
        assert box.get_state("children")["children"] == [f"IPY_MODEL_{inner.model_id}"]
