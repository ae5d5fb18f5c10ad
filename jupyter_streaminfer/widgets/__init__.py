"""How a stream shows itself in a notebook. Thin: what is seen lives in ``labextension/``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_streaminfer.widgets.display import display_stream

if TYPE_CHECKING:
    from jupyter_streaminfer.widgets.token_stream import TokenStream

__all__ = ["TokenStream", "display_stream"]


def __getattr__(name: str) -> object:
    # ipywidgets takes a while to import, and most displays in a script or a test need no widget.
    if name == "TokenStream":
        from jupyter_streaminfer.widgets.token_stream import TokenStream

        return TokenStream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
