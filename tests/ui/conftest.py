"""A browser in front of a real JupyterLab."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab import Lab
from tiny_models import build_llama

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSER_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the UI tests need playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("the UI tests need chromium on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=BROWSER_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def slow_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama large enough that a few hundred tokens take seconds, so a stream can be caught in the middle."""
    return build_llama(
        tmp_path_factory.mktemp("models") / "slow",
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=40_000,
    )


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    extension = Path(sys.prefix) / "share" / "jupyter" / "labextensions" / "jupyter-streaminfer" / "package.json"
    if not extension.exists():
        pytest.skip("the UI tests need the package installed with its JupyterLab extension: pip install .")
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.stop()


@contextmanager
def _opened(browser: Browser) -> Iterator[Page]:
    """A page that knows nothing of any other."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, device_scale_factor=2)
    context.set_default_timeout(150_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with _opened(browser) as page:
        yield page


@pytest.fixture
def bare_page(page: Page) -> Any:
    """Draws a widget in a page that has neither JupyterLab nor a server."""
    from bare_page import BarePage

    return BarePage(page)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: STREAMINFER_SCREENSHOTS, or a folder of the test's own."""
    folder = Path(os.environ.get("STREAMINFER_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def desk_page(browser: Browser, lab: Lab) -> Iterator[Page]:
    """JupyterLab, in a page of all notebooks of a module: loading it takes longer than most of the tests."""
    with _opened(browser) as page:
        # The connection by which it watches the server is there before a test looks at connections.
        with page.expect_websocket(lambda socket: "streaminfer/ws" in socket.url):
            page.goto(lab.address(f"lab/workspaces/{uuid.uuid4().hex}"))
        page.wait_for_function("() => window.jupyterapp")
        page.evaluate("() => window.jupyterapp.restored.then(() => null)")
        yield page


@pytest.fixture
def notebook(lab: Lab, desk_page: Page, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Opens a notebook in the browser; it is closed, and its kernel and all streams end, with the test."""
    from notebook_page import NotebookPage

    opened = NotebookPage(lab, desk_page, request.node.name + ".ipynb")
    yield opened
    opened.release()
    opened.close()
    for session in lab.ask("api/sessions"):
        lab.ask(f"api/sessions/{session['id']}", "DELETE")
    for status in lab.ask("streaminfer/api/streams")["streams"]:
        if status["state"] == "open":
            lab.ask(f"streaminfer/api/streams/{status['stream']}", "DELETE")
