"""Who answers predictions in ``predict.py``: this engine in a Jupyter server, in several forms, and its peers."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import live_server
import numpy as np
from processes import end
from safetensors.numpy import save_file
from subject import environment

PEERS = Path(__file__).parent / "predict_peers"
WIDTHS = (16, 256, 256, 4)
"""The MLP's, input and output included; the peers' is as wide (``predict_peers/batching.py``)."""
START_S = 120.0
OURS = {
    f"ours {frames} {placement}": (frames, placement, "asyncio")
    for frames in ("tornado", "picows")
    for placement in ("thread", "process")
} | {f"ours picows {placement} uvloop": ("picows", placement, "uvloop") for placement in ("thread", "process")}
PEER_DOORS: dict[str, Literal["websocket", "http"]] = {
    "tornado_echo": "websocket",
    "tornado_batch": "websocket",
    "fastapi_batch": "websocket",
    "litserve_batch": "http",
}


@dataclass(frozen=True)
class Setting:
    """What everybody serves."""

    model: Literal["echo", "mlp"]
    size: int
    """Rows of a batch at most."""
    wait_ms: float
    connections: int
    folder: Path
    """Where models are kept."""
    log: Path


class Subject(ABC):
    """A server, with where and how it is asked."""

    door: Literal["websocket", "http"] = "websocket"
    token = ""
    counts = False
    """Whether it answers ``count``."""
    url: str
    pid: int

    @abstractmethod
    def start(self, setting: Setting) -> None:
        """Be ready to answer."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything; also after a failed `start`."""

    def batches(self) -> tuple[int, int] | None:
        """Batches and rows so far, where it says that elsewhere."""
        return None


class Ours(Subject):
    """Our engine in a Jupyter server of its own."""

    def __init__(self, frames: str, placement: str, loop: str) -> None:
        self.frames = frames
        self.placement = placement
        self.loop = loop
        self.resources = contextlib.ExitStack()

    def start(self, setting: Setting) -> None:
        most = 2 * setting.connections + 100
        options = {
            "frames": self.frames,
            "max_connections": most,
            "max_connections_per_client": most,
            "max_pending_per_client": most,
            "max_queue": most,
            "max_batch_size": setting.size,
            "max_wait_ms": setting.wait_ms,
            "threads": 1,
        }
        arguments = [f"--StreaminferApp.{name}={value}" for name, value in options.items()]
        if self.loop == "uvloop":
            arguments.append(f"--config={configuration(setting.folder)}")
        self.server = self.resources.enter_context(live_server.running(*arguments, log=setting.log))
        self.url, self.token, self.pid = self.server.websocket + "streaminfer/ws", self.server.token, self.server.pid
        self.model = setting.model
        path = {"mlp": mlp, "echo": echo}[setting.model](setting.folder)
        body = {"name": self.model, "path": str(path), "placement": self.placement}
        self.server.request("POST", "streaminfer/api/models", body, START_S)
        until = time.monotonic() + START_S
        while (state := self._status()["state"]) != "ready":
            if state == "failed" or time.monotonic() > until:
                raise RuntimeError(f"the model is {state}: {self._status()}")
            time.sleep(0.1)

    def _status(self) -> dict[str, object]:
        status: dict[str, object] = self.server.request("GET", f"streaminfer/api/models/{self.model}")
        return status

    def batches(self) -> tuple[int, int] | None:
        stats = self._status().get("stats")
        batcher = stats.get("batcher") if isinstance(stats, dict) else None
        return None if batcher is None else (batcher["batches"], batcher["rows"])

    def close(self) -> None:
        self.resources.close()


class Peer(Subject):
    """A script of ``predict_peers``, run by the interpreter that has its packages."""

    def __init__(self, name: str, python: str) -> None:
        self.name = name
        self.python = python
        self.door = PEER_DOORS[name]
        self.counts = self.door == "websocket"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, setting: Setting) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        arguments = {"port": port, "model": setting.model, "size": setting.size, "wait-ms": setting.wait_ms}
        command = [self.python, str(PEERS / f"{self.name}.py"), *(f"--{key}={arguments[key]}" for key in arguments)]
        with setting.log.open("a") as log:
            self.process = subprocess.Popen(
                command, env=environment(OMP_NUM_THREADS="1"), stdout=log, stderr=log, cwd=setting.folder
            )
        self.pid = self.process.pid
        self.url = f"ws://127.0.0.1:{port}/ws" if self.door == "websocket" else f"http://127.0.0.1:{port}/predict"
        until = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start; {setting.log} says more")
            time.sleep(0.1)

    def close(self) -> None:
        if self.process is not None:
            end(self.process)


def mlp(folder: Path) -> Path:
    """A random classifier."""
    model = folder / "mlp"
    model.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["MlpClassifier"],
        "input_shape": list(WIDTHS[:1]),
        "hidden_sizes": list(WIDTHS[1:-1]),
        "labels": [str(index) for index in range(WIDTHS[-1])],
    }
    (model / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(0)
    tensors = {}
    for index, (before, after) in enumerate(itertools.pairwise(WIDTHS)):
        weight = random.standard_normal((after, before), np.float32) / np.float32(before**0.5)
        tensors[f"layers.{index}.weight"] = weight
        tensors[f"layers.{index}.bias"] = np.zeros(after, np.float32)
    save_file(tensors, model / "model.safetensors")
    return model


def echo(folder: Path) -> Path:
    """An exported program that gives its rows back; torch is imported in a process of its own."""
    path = folder / "echo.pt2"
    code = (
        "import sys, torch\n"
        "class Echo(torch.nn.Module):\n"
        "    def forward(self, inputs):\n"
        "        return inputs.clone()\n"
        "rows = torch.export.Dim('rows', min=1, max=4096)\n"
        f"program = torch.export.export(Echo(), (torch.zeros(2, {WIDTHS[0]}),), dynamic_shapes=({{0: rows}},))\n"
        "torch.export.save(program, sys.argv[1])\n"
    )
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    return path


def configuration(folder: Path) -> Path:
    """A Jupyter server's configuration that has it run on uvloop."""
    path = folder / "uvloop_config.py"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("from jupyter_streaminfer.server.event_loop import use_uvloop\n\nuse_uvloop()\n")
    return path


def create(name: str, python: str) -> Subject:
    """The subject of that name, not started yet."""
    return Ours(*OURS[name]) if name in OURS else Peer(name, python)
