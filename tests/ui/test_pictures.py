"""What it looks like: screenshots for eyes."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab import wait_until
from notebook_page import NotebookPage

LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
ROOT = Path(__file__).parents[2]


def test_quickstart(notebook: NotebookPage, pictures: Path) -> None:
    """The tutorial as a newcomer runs it; the picture is the README's."""
    shutil.copytree(ROOT / "notebooks", notebook.lab.notebooks, dirs_exist_ok=True)
    notebook.name = "quickstart.ipynb"
    notebook.open()
    notebook.page.get_by_role("tab", name="File Browser").click()
    notebook.start("notebook:run-all-cells")
    notebook.wait_for_state("completed")
    wait_until(lambda: not notebook.busy, 120)
    saved = notebook.save()
    errors = [output for cell in saved.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert not errors
    notebook.view.locator(".jp-TokenStream-text").evaluate("text => text.scrollTo(0, 0)")
    notebook.view.scroll_into_view_if_needed()
    notebook.page.screenshot(path=pictures / "quickstart.png")


def test_states(notebook: NotebookPage, pictures: Path) -> None:
    error = {"code": "worker_lost", "message": "The worker of model demo ended unexpectedly. Load the model again."}
    shown = [
        {
            "text": "asyncio is a library to write concurrent code.\n\n>>> await main()",
            "state": "completed",
            "error": None,
        },
        {"text": "asyncio is used as a foundation for", "state": "cancelled", "error": None},
        {"text": "asyncio provides a set of high-level APIs to", "state": "incomplete", "error": None},
        {"text": "asyncio is often a perfect fit", "state": "failed", "error": error},
    ]
    mime = "application/vnd.jupyter-streaminfer.stream.v1+json"
    about = {"figures": {"tokens": 128, "tokens_per_s": 412.3, "ttft_ms": 6.1}, "stream": "st_gone", "epoch": "e"}
    request = {"type": "generate", "id": "g", "model": "demo", "prompt": "asyncio"}
    cells = [
        f"from IPython.display import display\n"
        f"display({{{mime!r}: {each!r}}}, metadata={{{mime!r}: {about | {'request': request}!r}}}, raw=True)"
        for each in shown
    ]
    notebook.run(*cells)
    notebook.wait_for_state("failed")
    for theme in (DARK, LIGHT):
        notebook.command("apputils:change-theme", theme=theme)
        notebook.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=theme)
        notebook.page.locator("#jupyterlab-splash").wait_for(state="detached")
        notebook.page.screenshot(path=pictures / f"states-{theme.split()[-1].lower()}.png")
        assert notebook.view.count() == len(shown)
        assert notebook.view.get_by_role("button", name="Retry").count() == len(shown) - 1
        assert notebook.view.get_by_role("button", name="Continue").count() == 1
        assert notebook.view.get_by_text("Load the model again").is_visible()
