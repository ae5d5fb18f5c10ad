"""Streaming inference inside the Jupyter server."""

from __future__ import annotations

try:
    from jupyter_streaminfer._version import __version__
except ImportError:
    # A checkout that was never built or installed has no version file.
    __version__ = "0.0.0.dev0"

__all__ = ["__version__"]
