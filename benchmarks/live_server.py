"""A real Jupyter server with this extension, for the benchmarks: its own process, folders, port and token."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import end
from subject import environment


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    token: str
    pid: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}

    @property
    def websocket(self) -> str:
        return self.url.replace("http", "ws", 1)

    def request(self, method: str, path: str, body: object = None, seconds: float = 120) -> Any:
        """One REST call; returns the decoded answer. `RuntimeError` with the server's words when it refuses."""
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(self.url + path, data=data, method=method, headers=self.headers)
        try:
            with urllib.request.urlopen(call, timeout=seconds) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error


@contextlib.contextmanager
def running(*options: str, log: Path | None = None) -> Iterator[Server]:
    """Start a server on loopback with further command line options; it is stopped at the end.

    It writes to ``log``, or where this process does.
    """
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        runtime = Path(folder) / "runtime"
        variables = {
            **environment(),
            "JUPYTER_RUNTIME_DIR": str(runtime),
            "JUPYTER_CONFIG_DIR": str(Path(folder) / "config"),
            "JUPYTER_TOKEN": token,
        }
        command = [
            *(sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", "--ServerApp.port=0"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}", "--ServerApp.log_level=ERROR"),
            "--ServerApp.jpserver_extensions={'jupyter_streaminfer': True}",
            *options,
        ]
        with contextlib.ExitStack() as resources:
            output = None if log is None else resources.enter_context(log.open("a"))
            process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
            resources.callback(end, process)
            yield _wait(process, runtime, token)


def _wait(process: subprocess.Popen[bytes], runtime: Path, token: str) -> Server:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(OSError, RuntimeError, json.JSONDecodeError):
                server = Server(json.loads(path.read_text())["url"], token, process.pid)
                server.request("GET", "streaminfer/api/health")
                return server
        time.sleep(0.1)
    raise RuntimeError("the Jupyter server did not start")
