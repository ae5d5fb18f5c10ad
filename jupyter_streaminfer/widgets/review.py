"""The widget with which an operator goes through a model's predictions."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import traitlets

from jupyter_streaminfer.client import Client, RowError
from jupyter_streaminfer.protocol import Prediction, StreaminferError
from jupyter_streaminfer.widgets.judgements import Judgements, Sort
from jupyter_streaminfer.widgets.review_figures import Decision, Figures, as_html, as_text
from jupyter_streaminfer.widgets.review_items import AHEAD, ReviewItems
from jupyter_streaminfer.widgets.review_messages import Back, Decide, Skip
from jupyter_streaminfer.widgets.saved import SavedView
from jupyter_streaminfer.widgets.token_stream import STATIC

if TYPE_CHECKING:
    import pandas as pd

INTERVAL_S = 1.0
"""Between two changes of what a page has of the next rows, while predictions come."""
MAX_CLASSES = 10_000
MAX_PAGES = 16
SAVED = 20
"""Decisions that a notebook keeps as text."""

_log = logging.getLogger(__name__)


class Review(SavedView):
    """A queue of predictions beside the image or row that they are of: an operator confirms or overrides each.

    The predictions come through `Client.predict_stream` in the background; the first is shown at once. All that was
    decided is here, in the kernel: a page that is reloaded goes on where it was.
    """

    _esm = STATIC / "review.js"
    _css = STATIC / "review.css"

    model = traitlets.Unicode().tag(sync=True)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """What a row may be overridden with."""
    queue = traitlets.List(traitlets.Int()).tag(sync=True)
    """The rows whose turn it is, and is next."""
    items = traitlets.List(traitlets.Dict()).tag(sync=True)
    """The first of these, as they are shown: ``row``, ``name``, ``label``, ``confidence``, ``scores``, ``picture`` or
    ``fields``.
    """
    figures = traitlets.Dict().tag(sync=True)
    """`Figures`."""
    taken = traitlets.Dict().tag(sync=True)
    """How much of what each page said is here."""
    predicting = traitlets.Bool(True).tag(sync=True)
    error = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    """The `ErrorInfo` of what ended the predictions, or of the first row that was refused, or None."""
    desk = traitlets.Unicode().tag(sync=True)
    """Which review it is, to a page that draws it a second time."""

    def __init__(
        self,
        client: Client,
        model: str,
        rows: Any,
        *,
        images: Any = None,
        labels: Sequence[Any] | None = None,
        baseline: Sequence[Any] | None = None,
        sort: Sort = "least",
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """``rows``: what `Client.predict_stream` takes. ``images``: one a row (`Pictures`), where the rows are not
        images themselves. ``labels``: the true ones, ``baseline``: the first ones, to be compared with; one a row, None
        where one is unknown.
        ``sort``: the ``least`` or ``most`` sure first, or as ``given``. ``classes``: what a row may be; absent, the
        model's labels.
        """
        if sort not in ("least", "most", "given"):
            raise _refused("sort", f"'least', 'most' or 'given', found {sort!r}")
        info = client.model(model).info
        signature = None if info is None else info.signature
        if signature is not None and signature.kind != "classes":
            raise _refused("model", f"{model!r} gives {signature.kind}: only classes can be reviewed")
        self._items = ReviewItems(rows, images, signature)
        given = self._items.rows
        offered = list(classes) if classes is not None else list(signature.labels if signature else [])
        self._judgements = Judgements(len(given), offered, sort=sort, labels=labels, baseline=baseline)
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[Decision], object]] = []
        self._learns_classes = not offered
        self._answers = client.predict_stream(model, given.given, in_order=False, errors="yield", progress=False)
        self._stopped = False
        super().__init__(model=model, classes=offered[:MAX_CLASSES], desk=secrets.token_hex(8), **kwargs)
        self._show()
        self.on_msg(self._receive)
        self._thread = threading.Thread(target=self._predict, name="streaminfer-review", daemon=True)
        self._thread.start()

    # What came of it.

    @property
    def agreement(self) -> float | None:
        """The share of the judged rows that were confirmed; None before the first."""
        return self._figures().agreement

    @property
    def accuracy(self) -> float | None:
        """The share of the operator's labels that are the true ones; where those were not given, the baseline's; where
        that was not given, the model's. None before the first.
        """
        return self._figures().accuracy

    @property
    def decisions(self) -> list[Decision]:
        """What was decided, in the order in which it was."""
        with self._lock:
            return self._judgements.latest(len(self._judgements))[::-1]

    def to_frame(self) -> pd.DataFrame:
        """All rows, with the index of the frame that was given: ``prediction``, ``confidence``, ``decision``
        (``confirmed`` or ``overridden``, missing while it is open), ``label``, ``seconds`` that the decision took, and
        ``true`` and ``baseline`` where they were given.
        """
        with self._lock:
            return self._judgements.to_frame(self._items.index)

    def on_decision(self, callback: Callable[[Decision], object]) -> Callable[[], None]:
        """Call ``callback(decision)`` after each decision, where the kernel takes it. Returns what ends that."""
        self._callbacks.append(callback)

        def remove() -> None:
            with suppress(ValueError):
                self._callbacks.remove(callback)

        return remove

    def text(self) -> str:
        """How far it is, and the latest decisions."""
        with self._lock:
            return as_text(self._figures().summary(self.model), self._judgements.latest(SAVED), self._items.name)

    def html(self) -> str:
        """The same as a table."""
        with self._lock:
            return as_html(self._figures().summary(self.model), self._judgements.latest(SAVED), self._items.name)

    def settle(self) -> None:
        """Wait for the predictions."""
        self._thread.join()

    def close(self) -> None:
        """Ask for no more predictions, and take it off the page."""
        if self.comm is not None:
            self._stopped = True
            self._answers.close()
        super().close()

    # The predictions, on a thread of their own.

    def _predict(self) -> None:
        shown = 0.0
        try:
            for row, answer in self._answers:
                with self._lock:
                    self._take(row, answer)
                    if time.monotonic() - shown >= INTERVAL_S or not self.queue:
                        self._show()
                        shown = time.monotonic()
        except StreaminferError as error:
            self._end(error)
        except Exception as error:
            # Rows are the caller's: reading them may raise anything.
            self._end(StreaminferError("internal", f"The predictions ended: {error}"))
        else:
            self._end(None)

    def _take(self, row: int, answer: Any) -> None:
        if isinstance(answer, Prediction):
            self._judgements.predict(row, answer)
            if self._learns_classes:
                found = dict.fromkeys([*self.classes, *(score.label for score in answer.scores)])
                self.classes = list(found)[:MAX_CLASSES]
        elif isinstance(answer, RowError):
            self._judgements.fail(row)
            self.error = self.error or msgspec.to_builtins(answer.info)
        else:
            raise _refused("model", f"{self.model!r} gives no classes: they alone can be reviewed")

    def _end(self, error: StreaminferError | None) -> None:
        with self._lock, self.hold_sync():
            self.predicting = False
            if error is not None and not self._stopped:
                self.error = msgspec.to_builtins(error.info)
            self._show()

    # The page.

    def _receive(self, widget: object, content: object, buffers: object) -> None:
        try:
            op = msgspec.convert(content, Decide | Skip | Back)
        except msgspec.ValidationError as error:
            _log.warning("A page of a review said what is not understood: %s", error)
            return
        with self._lock, self.hold_sync():
            if op.n <= self.taken.get(op.page, 0):
                return
            others = [(page, n) for page, n in self.taken.items() if page != op.page][1 - MAX_PAGES :]
            self.taken = {**dict(others), op.page: op.n}
            decision = self._apply(op)
            self._show()
            finished = decision is not None and not self.predicting and not self.queue
        if decision is not None:
            self._tell(decision)
        if finished:
            self.keep()

    def _apply(self, op: Decide | Skip | Back) -> Decision | None:
        if op.row is not None and not self._judgements.has(op.row):
            return None
        match op:
            case Decide() if op.label in self.classes or op.label == self._judgements.prediction(op.row)[0]:
                return self._judgements.decide(op.row, op.label, op.ms / 1000)
            case Skip():
                self._judgements.skip(op.row, op.ms / 1000)
            case Back():
                self._judgements.back(op.row)
        return None

    def _tell(self, decision: Decision) -> None:
        for callback in tuple(self._callbacks):
            try:
                callback(decision)
            except Exception:
                _log.exception("A callback of a review failed")

    def _show(self) -> None:
        """Bring the page up to date. What it has of the next rows is sent anew only when half of it is used."""
        with self.hold_sync():
            self.figures = msgspec.to_builtins(self._judgements.figures())
            self.queue = self._judgements.near(AHEAD)
            held = {item["row"] for item in self.items}
            ready = next((place for place, row in enumerate(self.queue) if row not in held), len(self.queue))
            if ready < min(len(self.queue), max(1, self._items.room // 2)):
                self.items = self._items.made(self.queue, self._judgements)

    def _figures(self) -> Figures:
        with self._lock:
            return self._judgements.figures()


def _refused(field: str, reason: str) -> StreaminferError:
    return StreaminferError("invalid_request", f"{field}: {reason}.", field=field)
