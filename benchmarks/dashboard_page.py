"""A dashboard that is open in a real browser, and what that takes: frames a second, and parts of one core."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from figures import percentile
from live_server import Server
from playwright.sync_api import Page, sync_playwright
from processes import cpu_seconds, tree

STATIC = Path(__file__).parents[1] / "jupyter_streaminfer" / "widgets" / "static"
SIZE = {"width": 1400, "height": 1000}
"""Of the window: most of the charts are in view, the table of streams is scrolled to."""
SETTLE_S = 1.0
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    # An empty page has no address, and would have to ask somebody before it may reach this machine.
    "--disable-features=LocalNetworkAccessChecks",
]
SHOW = """
const { default: widget } = await import(SCRIPT);
const model = { get: name => name === 'server', send: () => {}, on: () => {}, off: () => {} };
widget.render({ model, el: document.querySelector('main') });
"""
COUNT = """seconds => new Promise(done => {
  const deltas = [];
  const began = performance.now();
  let last = began;
  const frame = now => {
    deltas.push(now - last);
    last = now;
    if (performance.now() - began < 1000 * seconds) requestAnimationFrame(frame);
    else done(deltas.slice(1));
  };
  requestAnimationFrame(frame);
})"""


class OpenDashboard:
    """A page, which has a dashboard where it is shown, and the browser."""

    def __init__(self, page: Page, server: Server, browser: int) -> None:
        self.page = page
        self._server = server
        self._browser = browser
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The widget's own script in an empty page that reads from the server by itself."""
        script = json.dumps("data:text/javascript;charset=utf-8," + quote((STATIC / "dashboard.js").read_text()))
        config: dict[str, Any] = {"wsUrl": self._server.websocket, "token": self._server.token}
        text = json.dumps(config).replace("<", "\\u003c")
        self.page.set_content(f'<script id="jupyter-config-data" type="application/json">{text}</script><main></main>')
        self.page.add_style_tag(path=STATIC / "dashboard.css")
        self.page.add_script_tag(type="module", content=SHOW.replace("SCRIPT", script))
        self.page.get_by_text("Live", exact=True).wait_for()
        self.page.locator("tr.jp-Streaminfer-stream").first.wait_for(state="attached")
        time.sleep(SETTLE_S)
        yield
        self.page.goto("about:blank")

    def frames(self, seconds: float) -> dict[str, float]:
        """The pace at which the page can draw: what requestAnimationFrame gives."""
        deltas: list[float] = self.page.evaluate(COUNT, seconds)
        return {
            "frames_per_second": round(1000 * len(deltas) / sum(deltas), 1),
            "frame_p99_ms": round(percentile(deltas, 99), 1),
            "frame_worst_ms": round(max(deltas), 1),
        }

    def cores(self, seconds: float) -> dict[str, float]:
        """Of one core: the page's thread, and all processes of the browser. Nothing else is asked of it meanwhile."""
        began, cpu, task = time.monotonic(), cpu_seconds(self._browser), self._task_seconds()
        time.sleep(seconds)
        cpu, task = cpu_seconds(self._browser) - cpu, self._task_seconds() - task
        passed = time.monotonic() - began
        return {"page_thread": round(task / passed, 4), "browser": round(cpu / passed, 4)}

    def _task_seconds(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


@contextmanager
def browser(server: Server) -> Iterator[OpenDashboard]:
    """A browser that shows nothing yet."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise RuntimeError("this needs chromium on the PATH")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        try:
            yield OpenDashboard(started.new_page(viewport=SIZE), server, _browser())
        finally:
            started.close()


def _browser() -> int:
    """The process of which all others of the browser descend: the first of them below this one."""
    for pid in tree(os.getpid()):
        with suppress(OSError):
            if b"chrom" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                return pid
    raise RuntimeError("the browser was not found")
