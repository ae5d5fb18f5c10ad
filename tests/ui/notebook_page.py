"""One notebook in JupyterLab, in a browser."""

from __future__ import annotations

import uuid
from typing import Any

from lab import Lab, wait_until
from playwright.sync_api import Locator, Page

BUSY = """
import pathlib, time
while not pathlib.Path({flag!r}).exists():
    time.sleep(0.01)
"""


EXECUTE = "([id, args]) => window.jupyterapp.commands.execute(id, args).then(() => null)"
CLOSE = "() => [...window.jupyterapp.shell.widgets('main')].forEach(widget => widget.dispose())"
"""Closes all that is open, whatever is not saved."""


class NotebookPage:
    """What the tests do to a notebook and see of it."""

    def __init__(self, lab: Lab, page: Page, name: str) -> None:
        self.lab = lab
        self.page = page
        self.name = name
        self._flag = lab.notebooks / f"{name}.flag"

    @property
    def busy_cell(self) -> str:
        """Code that keeps the kernel busy until `release`."""
        return BUSY.format(flag=str(self._flag))

    def release(self) -> None:
        self._flag.touch()

    def run(self, *cells: str) -> None:
        """Write the cells, open them and run all, without waiting for their end."""
        self.lab.write(self.name, *cells)
        self.open()
        self.start("notebook:run-all-cells")

    def open(self) -> None:
        self.command("docmanager:open", path=self.name)
        self.ready()

    def reload(self) -> None:
        """Load the whole of JupyterLab again, with nothing open but the notebook."""
        self.page.goto(self.lab.address(f"lab/workspaces/{uuid.uuid4().hex}/tree/{self.name}"))
        self.ready()

    def close(self) -> None:
        """Close the notebook, and a dialog that a failed test left open."""
        while self.page.locator(".jp-Dialog").count():
            self.page.keyboard.press("Escape")
        self.page.evaluate(CLOSE)

    def ready(self) -> None:
        """Wait until the notebook is shown and has a kernel."""
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        self.page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel")

    def command(self, id: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab, and wait until it is done."""
        self.page.evaluate(EXECUTE, [id, arguments])

    def start(self, id: str) -> None:
        """Execute a command of JupyterLab that goes on for a while."""
        self.page.evaluate("id => void window.jupyterapp.commands.execute(id)", id)

    def save(self) -> Any:
        """Save, and return what is on the disk."""
        self.command("docmanager:save")
        return self.lab.read(self.name)

    @property
    def view(self) -> Locator:
        return self.page.locator(".jp-TokenStream")

    @property
    def text(self) -> str:
        return self.view.locator(".jp-TokenStream-text").text_content() or ""

    def wait_for_state(self, *states: str) -> None:
        self.page.locator(",".join(f".jp-TokenStream[data-state={state}]" for state in states)).wait_for()

    def wait_for_text(self, longer_than: int = 0) -> int:
        """Wait until more text is there, and return how much."""
        wait_until(lambda: len(self.text) > longer_than)
        return len(self.text)

    @property
    def busy(self) -> bool:
        """Whether the last cell is still running. (The kernel's own state is of any of its threads.)"""
        return self.page.locator(".jp-CodeCell .jp-InputPrompt").last.inner_text().startswith("[*]")
