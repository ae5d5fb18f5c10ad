"""Finding the first of several stop texts in a text that arrives piece by piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class StopFinder:
    """Aho and Corasick's automaton (1975): its state is the longest end of the text that a stop text begins with."""

    def __init__(self, stops: Iterable[str]) -> None:
        """None of ``stops`` is empty."""
        self._next: list[dict[str, int]] = [{}]
        self._depth = [0]
        self._found = [0]
        """The length of the longest stop text that a state ends with."""
        for stop in stops:
            state = 0
            for character in stop:
                if character not in self._next[state]:
                    self._next[state][character] = len(self._next)
                    self._next.append({})
                    self._depth.append(self._depth[state] + 1)
                    self._found.append(0)
                state = self._next[state][character]
            self._found[state] = len(stop)
        self._fallback = [0] * len(self._next)
        """For each state the one of its longest proper end that is a state."""
        self._link()
        self._state = 0

    @property
    def open(self) -> int:
        """How many of the last characters a stop text may still begin with."""
        return self._depth[self._state]

    def feed(self, text: str) -> tuple[int, int] | None:
        """Go on with ``text``: where in it the first stop text is complete, and how long that is; None without one.

        Of several that are complete at one place it is the longest.
        """
        for index, character in enumerate(text, 1):
            state = self._step(self._state, character)
            self._state = state
            if self._found[state]:
                return index, self._found[state]
        return None

    def _step(self, state: int, character: str) -> int:
        while state and character not in self._next[state]:
            state = self._fallback[state]
        return self._next[state].get(character, 0)

    def _link(self) -> None:
        """Set all fallbacks, those of shorter states first."""
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            for character, following in self._next[state].items():
                fallback = self._step(self._fallback[state], character)
                self._fallback[following] = fallback
                self._found[following] = self._found[following] or self._found[fallback]
                queue.append(following)
