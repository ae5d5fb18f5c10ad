"""The project's own virtual environment, made and kept by the two commands of the README."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv"
PROGRAMS = FOLDER / ("Scripts" if os.name == "nt" else "bin")
"""Where the environment's commands are, node and npm among them."""


def run(*command: str | Path) -> None:
    """Run a command of the environment from the repository's root; its failure ends this program."""
    process = start(*command)
    if status := process.wait():
        sys.exit(status)


def start(*command: str | Path, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a command as `run` does, and let it run; ``output`` is where it prints, if not here."""
    words = [str(word) for word in command]
    print("$", " ".join(words), flush=True)
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(FOLDER)}
    environment.pop("PYTHONHOME", None)
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=output, stderr=output and subprocess.STDOUT)


def install(*requirements: str) -> None:
    """Install into the environment, within the constraints; makes the environment if there is none."""
    if sys.version_info < (3, 11):
        sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    if not (PROGRAMS / ("python.exe" if os.name == "nt" else "python")).exists():
        venv.create(FOLDER, with_pip=True)
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    # Python compiles what is imported; all that is installed is some ten thousand files more.
    options = (*quiet, "--no-compile", "--constraint", "constraints.txt")
    run(PROGRAMS / "python", "-m", "pip", "install", *options, *requirements)
