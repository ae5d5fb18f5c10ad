"""Who looks at this kernel's outputs, and what the page reaches by itself."""

from __future__ import annotations

import os

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.client.discovery import from_environment

FRONTENDS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
"""Variables of a kernel that somebody watches: a Jupyter server's session, VS Code's, Colab's. A kernel that runs
a notebook through without anybody watching (nbclient, nbval, papermill) has none of them."""


def watched() -> bool:
    """Whether outputs that change after their cell was done are still seen."""
    return any(variable in os.environ for variable in FRONTENDS)


def page_reaches(stream: ClientStream) -> bool:
    """Whether the stream is on the Jupyter server that started this kernel, which is the one of the page."""
    return any(server.url == stream.client.url for server in from_environment(os.environ))
