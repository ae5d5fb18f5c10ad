"""What is measured: one interface for this engine and every peer. A peer is one file in ``subjects/``.

Such a file defines ``class Peer(Subject)``; the file's name is the peer's. Standard library only: peers that
compute in a process of their own import this in their own environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from timeline import Timeline
from workload import Workload

HERE = Path(__file__).parent
START_SECONDS = 900.0
"""How long a subject may take until it can answer: some compile."""


@dataclass(frozen=True)
class Setting:
    """What a subject serves, and how much of it at once. Everybody gets the same."""

    folder: str
    """The model, as Hugging Face has it."""
    dtype: str
    """What its weights are to be kept in: ``float32``, ``bfloat16`` or ``int8``."""
    streams: int
    """Requests under way at most."""
    tokens: int
    """Prompt and answer of one request at most."""
    cache_bytes: int
    """What the keys and values of so many take in float32, or more."""
    threads: int
    """For those that compute in a process of their own."""
    server_threads: int
    """For our server; 0: its own choice."""


@dataclass(frozen=True)
class Pythons:
    """The environments of the peers that need one of their own; absent ones are not measured."""

    vllm: str | None = None
    llama: str | None = None


class Subject(ABC):
    """Something that generates. Started and closed once a model and dtype."""

    dtypes: ClassVar[frozenset[str]]
    served: ClassVar[bool]
    """Measured by a client of its server; otherwise in its own process, without the cost of either."""
    serial: ClassVar[bool] = False
    """One request after another: its rounds are long and all alike, so that one is enough."""
    variant: ClassVar[bool] = False
    """A peer in other than its default form: only measured when it is asked for."""
    distributions: ClassVar[tuple[str, ...]]
    """What it consists of, for the record."""

    def __init__(self, pythons: Pythons, log: Path) -> None:
        self.python: str | None = sys.executable
        self.log = log
        """Where its processes write to."""

    def versions(self) -> dict[str, str]:
        """The versions of its distributions; empty where they are not installed, or its environment is not named."""
        if self.python is None:
            return {}
        code = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
        command = [self.python, "-c", code, *self.distributions]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            return {}
        return dict(zip(self.distributions, answer.stdout.split(), strict=True))

    @abstractmethod
    def start(self, setting: Setting) -> int:
        """Be ready to answer; returns the process whose tree does the work."""

    @abstractmethod
    def run(self, workload: Workload, seconds: float) -> Timeline:
        """Do it; `TimeoutError` after that time, any other exception when a request failed."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything; also after a failed `start` or `run`."""


def names() -> list[str]:
    """Every subject there is a file for, ours first."""
    found = {path.stem for path in (HERE / "subjects").glob("*.py")} - {"__init__"}
    ours = ["websocket", "openai"]
    return ours + sorted(found - set(ours))


def create(name: str, pythons: Pythons, log: Path) -> Subject:
    """The subject of that name, not started yet."""
    peer: Subject = import_module(f"subjects.{name}").Peer(pythons, log)
    return peer


def environment(**changes: str) -> dict[str, str]:
    """Ours, without a bound on threads that was not meant for the subject."""
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return kept | changes
