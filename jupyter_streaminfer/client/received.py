"""What a stream has brought so far."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_streaminfer.client import ending
from jupyter_streaminfer.client.partial_json import partial_json
from jupyter_streaminfer.client.timings import StreamTimings
from jupyter_streaminfer.protocol import (
    Delta,
    Generate,
    Notice,
    Partial,
    Run,
    Snapshot,
    StreaminferError,
    TokenLogprobs,
    Usage,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN = 60
"""Characters of text that the short form shows."""
NOTICES = 32
"""The latest so many are kept."""


class Received:
    """A stream as far as it came, to be looked at at any time; nothing here waits."""

    def __init__(self, request: Generate | Run | None, previous: Received | None) -> None:
        self.request = request
        """What was asked for; None for a stream that was attached to."""
        self.previous = previous
        """The stream that this one goes on with, if `ClientStream.resume` started it."""
        self.id = ""
        self.epoch = ""
        self.retries = 0
        """How often it was refused for the moment and asked for again, before it began."""
        self.reconnects = 0
        """How often its connection was lost and another one went on with it."""
        self.snapshot: Snapshot | None = None
        """What stands for its beginning, where the server keeps that no longer."""
        self._pieces: list[Delta | Partial] = []
        self._values: list[Any] = []
        self._notices: deque[Notice] = deque(maxlen=NOTICES)
        self._terminal: ending.Terminal | None = None
        self._loss: StreaminferError | None = None

    @property
    def text(self) -> str:
        """Everything received."""
        beginning = "" if self.snapshot is None else self.snapshot.text
        return beginning + "".join([delta.text for delta in self._deltas()])

    @property
    def full_text(self) -> str:
        """The same, after the text of the streams that this one goes on with."""
        return self.text if self.previous is None else self.previous.full_text + self.text

    @property
    def pieces(self) -> list[Delta | Partial]:
        """Everything received, in its order."""
        return list(self._pieces)

    @property
    def values(self) -> list[Any]:
        """Every value that a run yielded and that was received, decoded; its texts are in ``text``."""
        return list(self._values)

    @property
    def json(self) -> Any:
        """The value of a text that is JSON, as far as it is there; valid at every point of the stream.

        Strings and numbers are as long as they are so far, and what is no value yet is left out; None before anything
        is there. Raises `StreaminferError` for a text that is no JSON.
        """
        return partial_json(self.full_text)

    @property
    def notices(self) -> list[Notice]:
        """What the server said about the stream and its reader, the latest ones: it waits, it goes on, and so on."""
        return list(self._notices)

    @property
    def token_ids(self) -> list[int]:
        """Every token received."""
        return [token for delta in self._deltas() for token in delta.token_ids]

    @property
    def at_ms(self) -> list[float]:
        """When each token, or a run's text or value, was appended to the log: milliseconds since its acceptance."""
        times: list[float] = []
        for piece in self._pieces:
            times += [piece.at_ms] if isinstance(piece, Partial) else piece.at_ms
        return times

    @property
    def logprobs(self) -> list[TokenLogprobs]:
        """For every token received, how likely it was and what else was; empty where that was not asked for."""
        return [token for delta in self._deltas() for token in delta.logprobs or ()]

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self._terminal is not None or self._loss is not None

    @property
    def state(self) -> str:
        """``open``, ``completed``, ``incomplete`` (a deadline ended it), ``cancelled``, ``failed``, or ``lost``.

        A lost one may go on, but not to here. While a lost connection is being had back, it is ``open``.
        """
        if self._terminal is not None:
            return ending.STATES[type(self._terminal)]
        return "open" if self._loss is None else "lost"

    @property
    def finish_reason(self) -> str | None:
        """``stop`` or ``length`` once it completed, ``deadline`` if it is incomplete."""
        return ending.finish_reason(self._terminal)

    @property
    def resumable(self) -> bool:
        """Whether `resume` may go on where it stopped."""
        return ending.resumable(self._terminal) and not isinstance(self.request, Run)

    @property
    def error(self) -> StreaminferError | None:
        """Why it did not end in order; neither a cancel by a client nor a deadline for the whole is an error."""
        return self._loss if self._terminal is None else ending.error(self._terminal)

    @property
    def usage(self) -> Usage | None:
        """Tokens of prompt and answer, once it is closed."""
        return self._terminal.usage if self._terminal is not None else None

    @property
    def timings(self) -> StreamTimings | None:
        """How long it took, once it is closed."""
        if self._terminal is None:
            return None
        return StreamTimings.of(self._terminal.timings, self._terminal.usage, self.at_ms)

    def to_frame(self) -> pd.DataFrame:
        """One row per token so far: ``seq``, ``token_id``, ``text``, ``at_ms``, ``itl_ms``.

        Of a run one row per value: ``seq``, ``at_ms``, and ``value``, or a column for each field where all are dicts.
        """
        from jupyter_streaminfer.client.frames import to_frame, values_frame

        if self._values:
            return values_frame([piece for piece in self._pieces if isinstance(piece, Partial)], self.values)
        return to_frame(self._deltas())

    def _take(self, piece: Delta | Partial) -> None:
        """Note what came."""
        if isinstance(piece, Partial):
            self._values.append(msgspec.json.decode(piece.value))
        self._pieces.append(piece)

    def _deltas(self) -> list[Delta]:
        return [piece for piece in self._pieces if isinstance(piece, Delta)]

    def plot(self) -> Figure:
        """When the tokens, texts and values came, and the time between them, as a matplotlib figure."""
        import pandas as pd

        from jupyter_streaminfer.client import plots

        return plots.timeline(pd.DataFrame({"at_ms": self.at_ms}), "" if self.request is None else self.request.model)

    def __repr__(self) -> str:
        text = self.text
        short = repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")
        name = "" if self.request is None else f"{self.request.model} "
        latest = f", {self._notices[-1].code}" if self._notices and not self.done else ""
        return f"<ClientStream {name}{self.state}{latest}: {short}>"
