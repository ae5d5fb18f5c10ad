"""What every widget leaves in a saved notebook, for whoever opens it where no kernel runs."""

from __future__ import annotations

import html
import threading
from collections import deque
from contextvars import Context, copy_context
from typing import Any

import anywidget
from IPython.core.getipython import get_ipython
from IPython.display import DisplayHandle, display

from jupyter_streaminfer.client.watched import watched

MAX_OUTPUTS = 16
"""Of one widget, in how many cells at most what they keep is brought up to date."""


class SavedView(anywidget.AnyWidget):
    """A widget with a form in plain text and one in HTML, which a notebook keeps beside the live view.

    Where the widget is shown, so is the view; where it is not (a saved notebook, a page of nbconvert, a terminal),
    the others are. A subclass says what they are in `text` and `html`, and calls `keep` when there is more to keep
    than there was when it was shown.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._outputs: deque[tuple[DisplayHandle, Context]] = deque(maxlen=MAX_OUTPUTS)
        self._updating = threading.Lock()
        super().__init__(**kwargs)

    def text(self) -> str:
        """What it shows now, as plain text, of a bounded length."""
        raise NotImplementedError

    def html(self) -> str:
        """What it shows now, as static HTML without scripts, in which everything from outside is escaped."""
        return preformatted(self.text())

    def settle(self) -> None:
        """Wait for what is worth keeping. Called before it is shown where nobody watches, so that such a run (nbclient,
        nbval) leaves the same each time.
        """

    def keep(self) -> None:
        """Bring what the notebook keeps up to date; from any thread.

        The page draws the view anew, so this is for ends, not for each change. Where nobody watches it does nothing:
        what was shown there is what the notebook is compared by.
        """
        if not watched():
            return
        data, metadata = self._bundle()
        with self._updating:
            for handle, context in tuple(self._outputs):
                context.run(handle.update, data, metadata=metadata, raw=True)

    def close(self) -> None:
        """Take it off the page; what it showed last stays there, as HTML."""
        was_open = self.comm is not None
        super().close()
        if was_open and self._outputs:
            self.keep()

    def _bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        saved: dict[str, Any] = {"text/plain": self.text(), "text/html": self.html()}
        if self.comm is None:
            return saved, {}
        view, metadata = super()._repr_mimebundle_() or ({}, {})
        return view | saved, metadata

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._bundle()

    def _ipython_display_(self) -> None:
        if not watched():
            self.settle()
        data, metadata = self._bundle()
        if get_ipython() is None:
            print(data["text/plain"])  # noqa: T201
            return
        handle = display(data, metadata=metadata, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        # An update may come from another thread, in a later cell: this context says which cell it belongs to.
        self._outputs.append((handle, copy_context()))


def preformatted(text: str) -> str:
    """Text as HTML, its lines as they are."""
    return f'<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{html.escape(text)}</pre>'
