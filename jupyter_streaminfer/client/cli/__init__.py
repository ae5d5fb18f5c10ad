"""``jupyter streaminfer``: the engine of a running server from a terminal."""

from jupyter_streaminfer.client.cli.main import main

__all__ = ["main"]
