"""JupyterLab in a browser, with our panels: what the tests do to them and see of them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from lab import Lab
from notebook_page import EXECUTE
from playwright.sync_api import Locator, Page

LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"

LINE = """
window.ours = { all: [], down: false };
window.WebSocket = class extends window.WebSocket {
  constructor(address, protocols) {
    // A port that nobody listens at turns every connection away.
    const ours = new URL(address).pathname.endsWith('/streaminfer/ws');
    super(ours && window.ours.down ? 'ws://127.0.0.1:9/' : address, protocols);
    if (ours) {
      window.ours.all.push(this);
    }
  }
};
"""


class LabPage:
    """One page, in a workspace of its own."""

    def __init__(self, lab: Lab, page: Page, pictures: Path) -> None:
        self.lab = lab
        self.page = page
        self._pictures = pictures
        self.workspace = uuid.uuid4().hex
        page.add_init_script(LINE)

    def open(self) -> None:
        """Open it; once more restores its workspace."""
        self.page.goto(self.lab.address(f"lab/workspaces/{self.workspace}"))
        self.page.wait_for_function("() => window.jupyterapp")
        self.page.evaluate("() => window.jupyterapp.restored.then(() => null)")

    def command(self, id: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab, and wait until it is done."""
        self.page.evaluate(EXECUTE, [id, arguments])

    def theme(self, name: str) -> None:
        self.command("apputils:change-theme", theme=name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self._pictures / f"lab-{name}.png")

    @property
    def connections(self) -> int:
        """How often the page connected to the native WebSocket."""
        return int(self.page.evaluate("window.ours.all.length"))

    def cut(self) -> None:
        """Lose the server, until `mend`."""
        self.page.evaluate("window.ours.down = true; window.ours.all.forEach(each => each.close())")

    def mend(self) -> None:
        self.page.evaluate("window.ours.down = false")

    @property
    def sidebar(self) -> Locator:
        return self.page.locator("#jp-streaminfer-sidebar")

    @property
    def models(self) -> Locator:
        return self.sidebar.locator(".jp-StreaminferModel")

    @property
    def streams(self) -> Locator:
        return self.sidebar.locator(".jp-StreaminferStream")

    @property
    def status(self) -> Locator:
        return self.page.locator(".jp-StreaminferStatus-button")

    @property
    def dialog(self) -> Locator:
        return self.page.locator(".jp-Dialog")

    def model(self, name: str, version: str = "1", state: str = "ready") -> Locator:
        """A version's place in the sidebar, once it is in that state."""
        found = self.sidebar.locator(
            f".jp-StreaminferModel[data-name={name}][data-version='{version}'][data-state={state}]"
        )
        found.wait_for()
        return found
