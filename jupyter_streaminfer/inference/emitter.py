"""The text of an answer that may be shown, as its tokens arrive: nothing of a stop text, all else at once."""

from __future__ import annotations

from collections.abc import Sequence as Seq

from jupyter_streaminfer.inference.detokenizer import Detokenizer
from jupyter_streaminfer.inference.stops import StopFinder


class Emitter:
    """Shows the text of one sequence before the first stop text to be complete; of several at once, the longest.

    Only the end of the text that a stop text may still begin with is held back.
    """

    def __init__(self, detokenizer: Detokenizer, stops: Seq[str] = (), min_tokens: int = 0) -> None:
        """What the first ``min_tokens`` tokens complete is shown and not searched: a stop text begins after it."""
        self.stopped = False
        """Whether a stop text was complete; nothing is added after that."""
        self._detokenizer = detokenizer
        self._finder = StopFinder(stops) if stops else None
        self._unsearched = min_tokens
        self._held = ""

    def add(self, token_id: int) -> str:
        """The text that may be shown now that this token is there."""
        text = self._detokenizer.add(token_id)
        if self._finder is None:
            return text
        if self._unsearched:
            self._unsearched -= 1
            return text
        return self._search(self._finder, text)

    def finish(self) -> str:
        """The text that is still held, where no stop text is complete; an unfinished character as U+FFFD."""
        if self._finder is None:
            return self._detokenizer.finish()
        if self.stopped:
            return ""
        text = self._detokenizer.finish()
        if self._unsearched:
            return text
        shown = self._search(self._finder, text)
        return shown if self.stopped else shown + self._held

    def _search(self, finder: StopFinder, text: str) -> str:
        end = len(self._held)
        found = finder.feed(text)
        text = self._held + text
        if found is not None:
            index, length = found
            self.stopped, self._held = True, ""
            return text[: end + index - length]
        cut = len(text) - finder.open
        self._held = text[cut:]
        return text[:cut]
