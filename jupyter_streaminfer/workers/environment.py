"""The environment of a worker process: the server's, without what the process has no business with."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_PRIVATE = re.compile(
    r"JUPYTER|JPY_|CONFIGPROXY_|(.*_)?(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|KEY|AUTH)(_.*)?$", re.IGNORECASE
)
"""Names of variables that hold, or lead to, what a process must know to act in the server's or its owner's name."""


def environment() -> dict[str, str]:
    """The variables for a worker process.

    It imports from where this process does, in the same order, so that it runs this very package; but not from the
    working directory, unless that holds the package: it is a notebook's, and a file ``random.py`` would be found first.
    """
    variables = {name: value for name, value in os.environ.items() if not _PRIVATE.match(name)}
    package = str(Path(__file__).parents[2])
    folders = [folder for folder in sys.path if folder == package or folder not in ("", os.getcwd())]
    if package not in folders:
        folders.insert(0, package)
    variables["PYTHONPATH"] = os.pathsep.join(folders)
    return variables
