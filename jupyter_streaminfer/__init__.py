"""Streaming inference inside the Jupyter server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_streaminfer.client import connect as connect
    from jupyter_streaminfer.protocol import Deadlines as Deadlines

try:
    from jupyter_streaminfer._version import __version__
except ImportError:
    # A checkout that was never built or installed has no version file.
    __version__ = "0.0.0.dev0"

__all__ = ["Deadlines", "__version__", "connect"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: the server needs no client, and a kernel that only looks should not wait.
    if name in ("Deadlines", "connect"):
        from jupyter_streaminfer import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext jupyter_streaminfer``: the magics ``%%streaminfer`` and ``%streaminfer``."""
    from jupyter_streaminfer.client import magics

    magics.load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext jupyter_streaminfer``."""
    from jupyter_streaminfer.client import magics

    magics.unload(ipython)


def _jupyter_server_extension_points() -> list[dict[str, object]]:
    """What the Jupyter server loads."""
    from jupyter_streaminfer.server.app import StreaminferApp

    return [{"module": "jupyter_streaminfer.server", "app": StreaminferApp}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Where the built JupyterLab extension lies, for ``jupyter labextension develop``."""
    return [{"src": "labextension", "dest": "jupyter-streaminfer"}]
