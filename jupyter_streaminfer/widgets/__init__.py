"""How streams, predictions and what an engine does show themselves in a notebook. Thin: what is seen lives in
``labextension/``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from jupyter_streaminfer.widgets.display import display_stream

if TYPE_CHECKING:
    from jupyter_streaminfer.widgets.chat import Chat
    from jupyter_streaminfer.widgets.compare import Compare
    from jupyter_streaminfer.widgets.dashboard import Dashboard
    from jupyter_streaminfer.widgets.progress import Progress
    from jupyter_streaminfer.widgets.review import Review
    from jupyter_streaminfer.widgets.timeline import Timeline
    from jupyter_streaminfer.widgets.token_stream import TokenStream

__all__ = ["Chat", "Compare", "Dashboard", "Progress", "Review", "Timeline", "TokenStream", "display_stream"]

_MODULES = {
    "Chat": "chat",
    "Compare": "compare",
    "Dashboard": "dashboard",
    "Progress": "progress",
    "Review": "review",
    "Timeline": "timeline",
    "TokenStream": "token_stream",
}


def __getattr__(name: str) -> object:
    # ipywidgets takes a while to import, and most displays in a script or a test need no widget.
    if name in _MODULES:
        return getattr(import_module(f"jupyter_streaminfer.widgets.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
