"""What the page reaches by itself."""

from __future__ import annotations

import os

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.client.discovery import from_environment


def page_reaches(stream: ClientStream) -> bool:
    """Whether the stream is on the Jupyter server that started this kernel, which is the one of the page."""
    return page_reaches_engine(stream.client)


def page_reaches_engine(client: Client) -> bool:
    """The same of the engine that a client talks to."""
    return any(server.url == client.url for server in from_environment(os.environ))
