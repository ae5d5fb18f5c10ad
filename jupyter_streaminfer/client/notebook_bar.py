"""tqdm's bar of a notebook, which takes its output away with it."""

from __future__ import annotations

from typing import Any

from IPython.display import DisplayHandle, display
from tqdm.notebook import tqdm_notebook
from tqdm.std import tqdm as tqdm_std


class NotebookBar(tqdm_notebook):  # type: ignore[misc]
    """Shown once it took its ``delay``, and gone when it is closed, however far it came.

    tqdm's own leaves an output with the closed widget, which a saved notebook then cannot show; and a red bar where
    the last look at what was under way found it not at its end.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._shown: DisplayHandle | None = None
        super().__init__(*args, **kwargs, display=False)

    def display(
        self,
        msg: str | None = None,
        pos: int | None = None,
        close: bool = False,
        bar_style: str | None = None,
        check_delay: bool = True,
    ) -> None:
        """Bring it up to date, and show it where it is not."""
        super().display(msg, pos, close, bar_style, check_delay=False)
        if check_delay and self._shown is None:
            self._shown = display(self.container, display_id=True)  # type: ignore[no-untyped-call]
            self.displayed = True

    def close(self) -> None:
        """Take it away."""
        if self.disable:
            return
        tqdm_std.close(self)
        self.container.close()
        if self._shown is not None:
            shown, self._shown = self._shown, None
            shown.update({}, raw=True)  # type: ignore[no-untyped-call]
