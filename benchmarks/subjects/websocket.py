"""Our server's native WebSocket."""

from __future__ import annotations

from jupyter_subject import JupyterSubject


class Peer(JupyterSubject):
    """All requests on one connection."""

    door = "websocket"
