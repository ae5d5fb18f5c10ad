"""A real JupyterLab in a process of its own, and what the tests ask its server."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from jupyter_streaminfer import connect
from jupyter_streaminfer.client import Client

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


def wait_until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """The condition's first true value; fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)
    return value


class Lab:
    """JupyterLab on a free port, under a base URL, with folders of its own."""

    def __init__(self, folder: Path, configuration: Mapping[str, object] | None = None) -> None:
        """``configuration``: the server's own, by ``Class.trait``."""
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        runtime = folder / "runtime"
        self._token = secrets.token_hex(16)
        environment = {
            **os.environ,
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(runtime),
            "JUPYTER_TOKEN": self._token,
        }
        options = {
            "LabApp.expose_app_in_browser": True,
            "JupyterNotebookApp.expose_app_in_browser": True,
            "ServerApp.base_url": "/a%40b/",
            "ServerApp.port": 0,
            "ServerApp.root_dir": self.notebooks,
            # Room for a hundred streams that cannot end.
            "StreaminferApp.max_queued_tokens": 100_000_000,
            **(configuration or {}),
        }
        news = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        news.parent.mkdir(parents=True)
        news.write_text('{"fetchNews": "false"}')
        with (folder / "lab.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
                + [f"--{name}={value}" for name, value in options.items()],
                cwd=self.notebooks,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        found = wait_until(lambda: self._alive() and next(iter(runtime.glob("jpserver-*.json")), None), START_TIMEOUT_S)
        self.url = str(wait_until(lambda: _url(found), START_TIMEOUT_S))
        wait_until(self._answers, START_TIMEOUT_S)

    def address(self, path: str) -> str:
        """A page's address, with the token: for a browser without a cookie."""
        return f"{self.url}{path}?token={self._token}"

    def client(self) -> Client:
        """A client in this process."""
        return connect(self.url, self._token)

    def ask(self, path: str, method: str = "GET", body: object = None) -> Any:
        """What the server's REST address says; ``body`` goes along as JSON."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            headers={"Authorization": f"token {self._token}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = response.read()
        return json.loads(answer) if answer else None

    def write(self, name: str, *cells: str) -> None:
        """Write a notebook with these code cells."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.notebooks / name)

    def read(self, name: str) -> Any:
        """The notebook as it is saved."""
        return nbformat.read(self.notebooks / name, as_version=4)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _alive(self) -> bool:
        assert self._process.poll() is None, "JupyterLab ended at its start: see lab.log in the test's folder"
        return True

    def _answers(self) -> bool:
        try:
            return self.ask("api/status") is not None
        except OSError:
            return False


def _url(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text())["url"])
    except ValueError:
        return None
