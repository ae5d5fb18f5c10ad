"""The widget of a training: epochs, figures, what is left, and what the model says as it learns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import length_hint
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import traitlets
from IPython.core.getipython import get_ipython
from IPython.display import display

from jupyter_streaminfer.client.watched import watched
from jupyter_streaminfer.protocol import StreaminferError
from jupyter_streaminfer.widgets.progress_line import ProgressLine, described, duration
from jupyter_streaminfer.widgets.saved import SavedView
from jupyter_streaminfer.widgets.token_stream import STATIC
from jupyter_streaminfer.widgets.training_log import TrainingLog
from jupyter_streaminfer.widgets.training_samples import Sample, Samples
from jupyter_streaminfer.widgets.training_text import ByEpoch, as_html, as_text

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

INTERVAL_S = 0.25
BYTES_PER_S = 200_000
MAX_EPOCHS = 1_000_000
ERROR_CHARACTERS = 2000

_ENDS = {"completed": "done", "stopped": "ended early", "failed": "failed", "interrupted": "interrupted"}


class Progress(SavedView):
    """Shows how a training goes: ``for epoch in progress:`` counts the epochs from 1, `log` takes their figures.

    ``with`` it, what ends the loop is shown too, and raised on. Outside a notebook it is a line of text.
    """

    _esm = STATIC / "progress.js"
    _css = STATIC / "progress.css"

    title = traitlets.Unicode().tag(sync=True)
    epochs = traitlets.Int().tag(sync=True)
    epoch = traitlets.Int().tag(sync=True)
    """The one under way, from 1; 0 before."""
    step = traitlets.Int().tag(sync=True)
    """Of this epoch, done."""
    steps = traitlets.Int().tag(sync=True)
    """Of this epoch, in all; 0 where that is not known."""
    state = traitlets.Unicode("waiting").tag(sync=True)
    """``waiting``, ``running``, ``completed``, ``stopped`` (before its last epoch), ``failed`` or ``interrupted``."""
    share = traitlets.Float().tag(sync=True)
    """Of the whole that is done, 0 to 1."""
    elapsed_s = traitlets.Float().tag(sync=True)
    left_s = traitlets.Float(allow_none=True, default_value=None).tag(sync=True)
    """At the speed so far; None where there is none yet, or nothing left."""
    series = traitlets.List(traitlets.Dict()).tag(sync=True)
    """`Series` of each figure."""
    samples = traitlets.List(traitlets.Dict()).tag(sync=True)
    """``epoch``, ``label``, ``text`` and ``state`` of the latest, the latest first."""
    error = traitlets.Unicode().tag(sync=True)
    """What ended it."""

    def __init__(self, epochs: int, *, title: str = "Training", show: bool = True, **kwargs: Any) -> None:
        """``show=False``: it is not shown by itself, as it is part of something else."""
        if isinstance(epochs, bool) or not isinstance(epochs, int) or not 0 < epochs <= MAX_EPOCHS:
            raise StreaminferError(
                "invalid_request", f"epochs: 1 to {MAX_EPOCHS} are needed, found {epochs!r}.", field="epochs"
            )
        self._log = TrainingLog()
        self._samples = Samples(self._changed)
        self._lock = threading.RLock()
        self._show = show
        self._line: ProgressLine | None = None
        self._entered = False
        self._began_s: float | None = None
        self._done = 0
        """Whole epochs."""
        self._step = self._steps = 0
        self._next_s = 0.0
        self._timer: threading.Timer | None = None
        super().__init__(title=title, epochs=epochs, **kwargs)

    # The loop.

    def __enter__(self) -> Progress:
        self._entered = True
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end("completed" if self._done == self.epochs else "stopped")
        elif isinstance(error, KeyboardInterrupt):
            self._end("interrupted")
        else:
            self._end("failed", f"{type(error).__name__}: {error}")

    def __iter__(self) -> Iterator[int]:
        self._begin()
        try:
            for epoch in range(self._done + 1, self.epochs + 1):
                with self._lock:
                    self.epoch, self._step, self._steps = epoch, 0, 0
                    self._changed()
                yield epoch
                with self._lock:
                    self._done, self._step, self._steps = epoch, 0, 0
                    self._changed(whole=True)
        finally:
            if not self._entered:
                self._end("completed" if self._done == self.epochs else "stopped")

    def track(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches of an epoch, each a step of it."""
        known = length_hint(batches, 0)
        with self._lock:
            self._step, self._steps = 0, known or self._log.steps_of(self.epoch)
            if known:
                self._log.count(self.epoch, known)
        for batch in batches:
            with self._lock:
                self._step += 1
                self._changed()
            yield batch
        with self._lock:
            self._log.count(self.epoch, self._step)
            self._step = self._steps = 0

    def log(self, figures: Mapping[str, Any] = {}, /, **more: Any) -> None:
        """Take figures of this epoch, or within `track` of this step: numbers by name. Those with ``loss`` in their
        name share a chart.
        """
        with self._lock:
            self._log.add(self.epoch, self._step, self._elapsed(), {**figures, **more})
            self._changed()

    def sample(self, value: T, label: str = "") -> T:
        """Show what the model says by now, and return it: a text, `Predictions`, or a stream, which grows as it comes.

        ``label``: what it is, such as the prompt.
        """
        with self._lock:
            self._samples.add(value, label, self.epoch)
            self._changed()
        return value

    # What came of it.

    @property
    def taken(self) -> list[Sample]:
        """What `sample` took, the latest last."""
        with self._lock:
            return self._samples.all()

    def to_frame(self) -> pd.DataFrame:
        """One row a `log`: ``epoch``, ``step`` (0 for the epoch as a whole), ``seconds`` since the beginning, and the
        figures.
        """
        with self._lock:
            return self._log.to_frame()

    def text(self) -> str:
        """How it went, by epoch."""
        return self._saved(as_text)

    def html(self) -> str:
        """The same as a table, with the samples beneath."""
        return self._saved(as_html)

    # How it is shown.

    def _begin(self) -> None:
        if self._began_s is not None:
            return
        self._began_s = time.monotonic()
        self.state = "running"
        shell = get_ipython()
        if not self._show:
            return
        if shell is None or not hasattr(shell, "kernel"):
            self._line = ProgressLine()
        elif watched():
            display(self)  # type: ignore[no-untyped-call]

    def _end(self, state: str, error: str = "") -> None:
        with self._lock:
            if self.state != "running":
                return
            self._put(state=state, error=error[:ERROR_CHARACTERS])
        if self._line is not None:
            self._line.show(self._words(), whole=True)
            self._line.end()
        elif self._show and not watched():
            display(self)  # type: ignore[no-untyped-call]
        self.keep()

    def _changed(self, *, whole: bool = False) -> None:
        """Bring the page up to date, now or soon. Called on any thread."""
        with self._lock:
            if self._line is not None and self.state == "running":
                self._line.show(self._words(), whole=whole)
            wait = self._next_s - time.monotonic()
            if wait <= 0:
                self._put()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._put)
                self._timer.daemon = True
                self._timer.start()

    def _put(self, **changes: Any) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            share = self._share()
            series = msgspec.to_builtins(self._log.series())
            samples = self._samples.shown()
            with self.hold_sync():
                for name, value in changes.items():
                    setattr(self, name, value)
                if self.state == "running" or changes:
                    self.elapsed_s = self._elapsed()
                self.step, self.steps, self.share = self._step, self._steps, share
                running = self.state == "running" and 0 < share < 1
                self.left_s = self.elapsed_s * (1 - share) / share if running else None
                self.series, self.samples = series, samples
            size = sum(32 * len(each["points"]) for each in series) + sum(len(each["text"]) for each in samples)
            self._next_s = time.monotonic() + max(INTERVAL_S, size / BYTES_PER_S)

    def _elapsed(self) -> float:
        return 0.0 if self._began_s is None else time.monotonic() - self._began_s

    def _share(self) -> float:
        within = min(1.0, self._step / self._steps) if self._steps else 0.0
        return min(1.0, (self._done + within) / self.epochs)

    def _words(self) -> str:
        share, elapsed = self._share(), self._elapsed()
        parts = [f"{self.title}: epoch {self.epoch}/{self.epochs}", *described(self._log.latest())]
        if self.state == "running":
            parts += [f"{duration(elapsed * (1 - share) / share)} left"] if 0 < share < 1 else []
        else:
            parts += [f"{_ENDS[self.state]} after {duration(elapsed)}", *([self.error] if self.error else [])]
        return " · ".join(parts).replace("\n", " ")

    def _saved(self, form: Callable[[str, ByEpoch, list[dict[str, Any]], str], str]) -> str:
        state = _ENDS.get(self.state, self.state)
        with self._lock:
            summary = f"{self.title}: {self._done} of {self.epochs} epochs, {state}"
            return form(summary, self._log.by_epoch(), self._samples.shown(), self.error)
