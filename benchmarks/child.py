"""A subject that computes in a process of its own, without server or client, and both ends of the pipe to it.

The process gets a line with the `Setting` and one for each workload; it answers with one line each. Standard
library only: it may run in another environment than this.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import ClassVar

from processes import end
from stepping import Engine, drive
from subject import HERE, START_SECONDS, Setting, Subject, environment
from timeline import Timeline
from workload import Workload


class ChildSubject(Subject):
    """The parent's end. The class' own module is the child's: it calls `serve` when it is run."""

    served = False
    process: subprocess.Popen[bytes] | None = None
    variables: ClassVar[dict[str, str]] = {}

    def start(self, setting: Setting) -> int:
        assert self.python is not None
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [self.python, "-m", type(self).__module__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=HERE,
                env=environment(OMP_NUM_THREADS=str(setting.threads), **self.variables),
            )
        self._ask(asdict(setting), START_SECONDS)
        return self.process.pid

    def run(self, workload: Workload, seconds: float) -> Timeline:
        return Timeline(**self._ask(asdict(workload), seconds))

    def close(self) -> None:
        if self.process is not None:
            end(self.process)
            self.process = None

    def _ask(self, question: dict, seconds: float) -> dict:  # type: ignore[type-arg]
        """Send a line and wait for the answer to it."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        pipe = self.process.stdout.fileno()
        until = time.monotonic() + seconds
        received = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not received.endswith(b"\n"):
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError(f"no answer within {seconds:.0f} s")
                part = os.read(pipe, 2**20)
                if not part:
                    raise RuntimeError(f"the process ended: see {self.log}")
                received += part
        answer: dict = json.loads(received)  # type: ignore[type-arg]
        return answer


def serve(load: Callable[[Setting], Engine]) -> None:
    """The child's end: make the engine, then answer one workload after another."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not get among the answers
    engine = load(Setting(**json.loads(sys.stdin.readline())))
    print(json.dumps({}), file=answers, flush=True)
    for line in sys.stdin:
        timeline = drive(engine, Workload.of(json.loads(line)))
        print(json.dumps(asdict(timeline)), file=answers, flush=True)
