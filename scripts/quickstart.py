"""Set everything up and open JupyterLab on the quickstart: ``python3 scripts/quickstart.py [LAB OPTIONS]``."""

from __future__ import annotations

import os
import sys

from environment import PROGRAMS, install, run

if __name__ == "__main__":
    install(".[lab]")
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    # The default address, and not a file to open: the address that is printed leads to the notebook too.
    opened = "--LabApp.default_url=/lab/tree/notebooks/quickstart.ipynb"
    run(PROGRAMS / "jupyter", "lab", opened, *as_root, *sys.argv[1:])
