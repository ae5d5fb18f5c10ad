"""Our engine in a running Jupyter server, behind whichever of its doors."""

from __future__ import annotations

import contextlib
import subprocess
from typing import ClassVar, Literal

import live_server
import load
from subject import START_SECONDS, Setting, Subject
from timeline import Timeline
from workload import Workload

MODEL = "measured"
LEAST_CACHE_BYTES = 512 * 2**20
"""The engine's own default; a workload that needs more gets what it needs."""


class JupyterSubject(Subject):
    """A server of its own with one model loaded."""

    dtypes = frozenset({"float32", "bfloat16", "int8"})
    served = True
    distributions = ("jupyter_streaminfer", "jupyter_server", "torch")
    door: ClassVar[Literal["websocket", "openai"]]
    base: ClassVar[str] = ""
    """What the door stands under, from the server's base URL."""
    resources: contextlib.ExitStack | None = None

    def start(self, setting: Setting) -> int:
        self.resources = contextlib.ExitStack()
        options = [f"--StreaminferApp.cache_bytes={max(LEAST_CACHE_BYTES, setting.cache_bytes)}"]
        if setting.server_threads:
            options.append(f"--StreaminferApp.threads={setting.server_threads}")
        self.server = self.resources.enter_context(live_server.running(*options, log=self.log))
        body = {"name": MODEL, "path": setting.folder, "dtype": setting.dtype}
        self.server.request("POST", "streaminfer/api/models", body, START_SECONDS)
        return self.server.pid

    def run(self, workload: Workload, seconds: float) -> Timeline:
        job = load.Job(self.door, self.server.url + self.base, self.server.token, MODEL, workload)
        try:
            return load.finish(load.start(job), seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"no end within {seconds:.0f} s") from error

    def close(self) -> None:
        if self.resources is not None:
            self.resources.close()
            self.resources = None
