"""Whether anybody looks at this kernel's outputs."""

from __future__ import annotations

import os

FRONTENDS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
"""Variables of a kernel that somebody watches: a Jupyter server's session, VS Code's, Colab's. A kernel that runs
a notebook through without anybody watching (nbclient, nbval, papermill) has none of them."""


def watched() -> bool:
    """Whether outputs that change after they were shown are still seen."""
    return any(variable in os.environ for variable in FRONTENDS)
