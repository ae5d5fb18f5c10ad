"""Set everything up and open JupyterLab on the quickstart: ``python3 scripts/quickstart.py [LAB OPTIONS]``."""

from __future__ import annotations

import os
import sys

from environment import PROGRAMS, install, run

if __name__ == "__main__":
    install(".[lab]")
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    run(PROGRAMS / "jupyter", "lab", "notebooks/quickstart.ipynb", *as_root, *sys.argv[1:])
