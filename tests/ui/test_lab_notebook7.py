"""Our panels in Notebook 7, which has a sidebar, a place below the notebook, and neither launcher nor status bar."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from accessibility import violations

pytest.importorskip("notebook", reason="JupyterLab's server has Notebook's pages where that is installed")

if TYPE_CHECKING:
    from lab import Lab
    from playwright.sync_api import Page

HEALTH = re.compile(r"/streaminfer/api/health")


def test_a_server_without_the_engine_says_so_and_one_with_it_shows_it(lab: Lab, page: Page, pictures: Path) -> None:
    from lab_page import LabPage

    desk = LabPage(lab, page, pictures)
    page.route(HEALTH, lambda route: route.fulfill(status=404, body="<html>Not found</html>"))
    lab.write("a.ipynb", "1 + 1")
    page.goto(lab.address("notebooks/a.ipynb"))
    page.locator(".jp-Notebook .jp-CodeCell").wait_for()
    desk.command("streaminfer:show-sidebar")
    desk.sidebar.get_by_text("This Jupyter server has no inference engine").wait_for()
    assert desk.connections == 0
    assert page.locator(".Toastify__toast").count() == 0
    desk.picture("notebook7-without")
    assert violations(desk.page, "#jp-streaminfer-sidebar") == []

    page.unroute(HEALTH)
    desk.sidebar.get_by_role("button", name="Try again").click()
    desk.sidebar.locator(".jp-StreaminferMessage").wait_for(state="hidden")
    desk.sidebar.get_by_role("button", name="Dashboard").click()
    page.locator(".jp-StreaminferDashboard canvas").first.wait_for()
    desk.picture("notebook7-dashboard")
    desk.sidebar.get_by_role("button", name="Playground").click()
    page.locator(".jp-StreaminferPlayground").get_by_role("button", name="Copy as code cell").wait_for()
    desk.picture("notebook7-playground")
    assert page.locator(".jp-StreaminferDashboard").is_hidden()
    assert desk.connections == 1
