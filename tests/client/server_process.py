"""A real Jupyter server with the extension, as a subprocess with folders of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from yielding_models import FACTORIES

REPOSITORY = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
START_S = 60.0
OURS = ("JUPYTER", "JPY_")


def clean_environment(runtime: Path) -> dict[str, str]:
    """An environment that knows of no server but those whose runtime files are in ``runtime``."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**environ, "JUPYTER_RUNTIME_DIR": str(runtime), "PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class JupyterServer:
    """Started by the constructor, which returns when its extension answers."""

    def __init__(
        self,
        folder: Path,
        *,
        base_url: str = "/",
        token: str = "secret-token",
        port: int = 0,
        configuration: str = "",
        **traits: Any,
    ) -> None:
        """``configuration``: Python that the server reads as its configuration, beside what is here."""
        self.runtime = folder / "runtime"
        self.token = token
        self.headers = {"Authorization": f"token {token}"} if token else {}
        self.base_url = base_url
        self.sock = traits.get("sock", "")
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}{base_url}"
        config = folder / "config"
        for each in (self.runtime, config, folder / "data"):
            each.mkdir(parents=True, exist_ok=True)
        (config / "jupyter_server_config.py").write_text(configuration)
        (config / "jupyter_server_config.json").write_text(
            json.dumps(
                {
                    "ServerApp": {
                        "jpserver_extensions": {"jupyter_streaminfer": True},
                        "allow_root": True,
                        "open_browser": False,
                        "ip": "127.0.0.1",
                        **({} if self.sock else {"port": self.port, "port_retries": 0}),
                        "base_url": base_url,
                        "root_dir": str(folder),
                        **traits,
                    },
                    "IdentityProvider": {"token": token},
                    "StreaminferApp": {
                        "cache_bytes": 160 * 2**20,
                        "threads": 1,
                        "allowed_factories": [FACTORIES],
                    },
                }
            )
        )
        environ = clean_environment(self.runtime)
        environ |= {"JUPYTER_CONFIG_DIR": str(config), "JUPYTER_DATA_DIR": str(folder / "data")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server"], env=environ, stderr=subprocess.PIPE, text=True
        )
        self.log: list[str] = []
        self._said = threading.Event()
        """Something was logged since."""
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._wait_for_extension()
        except BaseException:
            self.kill()
            raise

    def _wait_for_extension(self) -> None:
        """The log cannot tell: it says that the server runs before it listens, and before extensions are started."""
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self.process.poll() is None, "".join(self.log)
            assert time.monotonic() < deadline, "".join(self.log)
            self._said.wait(0.1)
            self._said.clear()

    def _answers(self) -> bool:
        """Whether the extension answers at all: with 200, or with 403 where there is no token."""
        connection = HTTPConnection("localhost", self.port, timeout=START_S)
        try:
            if self.sock:
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.connect(self.sock)
            connection.request("GET", f"{self.base_url}streaminfer/api/health", headers=self.headers)
            return connection.getresponse().status == (200 if self.token else 403)
        except OSError:
            return False
        finally:
            connection.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            self._said.set()
        self._said.set()

    def api(self, method: str, path: str, body: object = None) -> Any:
        """One call of Jupyter's own REST API."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}api/{path}", data, self.headers, method=method)
        with urlopen(request, timeout=START_S) as response:
            return json.loads(response.read() or b"null")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
