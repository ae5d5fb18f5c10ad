"""What a model says while it learns: texts, streams as they come, predictions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from jupyter_streaminfer.client import ClientStream, Predictions
from jupyter_streaminfer.widgets.snapshot import Snapshot

KEPT = 1000
SHOWN = 12
SHOWN_CHARACTERS = 1000


class Sample(msgspec.Struct):
    """One of them."""

    epoch: int
    """The one under way when it was taken."""
    label: str
    text: str
    state: str
    """``streaming``, then how its stream ended; of what was there at once ``completed``."""


class Samples:
    """The latest of them; a stream's text grows until its end. Not thread-safe."""

    def __init__(self, changed: Callable[[], object]) -> None:
        """``changed`` is called when a stream has brought more, on the client's I/O thread."""
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._open: list[tuple[ClientStream, Sample]] = []
        self._changed = changed

    def add(self, value: Any, label: str, epoch: int) -> None:
        """Take a text, a stream, predictions, or whatever has a text of its own."""
        sample = Sample(epoch, label[:SHOWN_CHARACTERS], "", "completed")
        self._kept.append(sample)
        if isinstance(value, ClientStream):
            self._open.append((value, sample))
            value.add_listener(lambda stream: self._changed())
        elif isinstance(value, Predictions):
            sample.text = "\n".join(repr(value).splitlines()[1:])
        else:
            sample.text = str(value)

    def all(self) -> list[Sample]:
        """Those that are kept, the latest last."""
        for stream, sample in self._open:
            snapshot = Snapshot.of(stream)
            sample.text, sample.state = snapshot.text, snapshot.state
        self._open = [(stream, sample) for stream, sample in self._open if sample.state == "streaming"]
        return list(self._kept)

    def shown(self) -> list[dict[str, Any]]:
        """The latest, the latest first, as a page shows them."""
        latest = self.all()[-SHOWN:][::-1]
        return [msgspec.structs.asdict(each) | {"text": _cut(each.text)} for each in latest]


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
