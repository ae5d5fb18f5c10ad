"""What the page reaches by itself."""

from __future__ import annotations

import os

from jupyter_streaminfer.client import ClientStream
from jupyter_streaminfer.client.discovery import from_environment


def page_reaches(stream: ClientStream) -> bool:
    """Whether the stream is on the Jupyter server that started this kernel, which is the one of the page."""
    return any(server.url == stream.client.url for server in from_environment(os.environ))
