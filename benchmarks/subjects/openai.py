"""Our server's OpenAI door: ``streaminfer/v1/completions`` with server-sent events."""

from __future__ import annotations

from jupyter_subject import JupyterSubject


class Peer(JupyterSubject):
    """A kept-alive connection a request."""

    door = "openai"
    base = "streaminfer/"
