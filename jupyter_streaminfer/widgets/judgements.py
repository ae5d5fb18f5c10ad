"""What an operator says of a model's predictions, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from jupyter_streaminfer.protocol import Prediction, StreaminferError
from jupyter_streaminfer.widgets.review_figures import Decision, Figures

if TYPE_CHECKING:
    import pandas as pd

Sort = Literal["least", "most", "given"]

TOP = 5
"""Classes of a row whose confidences are kept."""
UNKNOWN = -1


class Judgements:
    """One row's prediction and label beside the other's, and whose turn it is. Not thread-safe."""

    def __init__(
        self,
        rows: int,
        classes: Iterable[str] = (),
        *,
        sort: Sort = "least",
        labels: Sequence[Any] | None = None,
        baseline: Sequence[Any] | None = None,
    ) -> None:
        """``labels``: the true ones; ``baseline``: the first ones, to be compared with; None where one is unknown."""
        self._names: list[str] = []
        self._codes: dict[str, int] = {}
        for name in classes:
            self._code(name)
        self._sort = sort
        self._predicted = np.full(rows, UNKNOWN, np.int32)
        self._confidence = np.full(rows, np.nan, np.float64)
        self._top = np.full((rows, TOP), UNKNOWN, np.int32)
        self._top_confidence = np.zeros((rows, TOP), np.float32)
        self._failed = np.zeros(rows, bool)
        self._label = np.full(rows, UNKNOWN, np.int32)
        self._seconds = np.zeros(rows, np.float64)
        self._passes = np.zeros(rows, np.int32)
        """How often each was put off."""
        self._history: list[tuple[int, bool]] = []
        """Rows that were judged, or (False) put off, the latest last."""
        self._front = UNKNOWN
        """The row that was taken back, whose turn it is."""
        self._true = self._coded("labels", labels, rows)
        self._baseline = self._coded("baseline", baseline, rows)

    def __len__(self) -> int:
        return len(self._predicted)

    @property
    def open(self) -> int:
        """Rows that have a prediction and no label."""
        return int(self._is_open().sum())

    def has(self, row: int) -> bool:
        """Whether there is such a row with a prediction."""
        return row < len(self) and bool(self._predicted[row] != UNKNOWN)

    def prediction(self, row: int) -> tuple[str, float]:
        """A row's likeliest class, and its confidence."""
        return self._names[self._predicted[row]], float(self._confidence[row])

    def predict(self, row: int, prediction: Prediction) -> None:
        """Take what the model says of a row."""
        self._predicted[row] = self._code(prediction.label)
        self._confidence[row] = prediction.confidence
        for place, score in enumerate(prediction.scores[:TOP]):
            self._top[row, place] = self._code(score.label)
            self._top_confidence[row, place] = score.confidence

    def fail(self, row: int) -> None:
        """The model refused a row."""
        self._failed[row] = True

    def decide(self, row: int, label: str, seconds: float) -> Decision:
        """Give a row its label; another one takes its place."""
        self._forget(row)
        self._label[row] = self._code(label)
        self._seconds[row] += seconds
        self._history.append((row, True))
        return self.decision(row)

    def skip(self, row: int, seconds: float) -> None:
        """Put a row off until all others had their turn."""
        self._forget(row)
        self._passes[row] += 1
        self._seconds[row] += seconds
        self._history.append((row, False))

    def back(self, row: int | None = None) -> int | None:
        """Take back what was said last, or last of ``row``: its turn comes again. Returns the row."""
        for place in range(len(self._history) - 1, -1, -1):
            found, judged = self._history[place]
            if row is None or found == row:
                del self._history[place]
                if judged:
                    self._label[found] = UNKNOWN
                else:
                    self._passes[found] -= 1
                self._front = found
                return found
        return None

    def near(self, count: int) -> list[int]:
        """Whose turn it is, and whose it is next."""
        rows = np.flatnonzero(self._is_open())
        confidence = self._confidence[rows]
        key = {"least": confidence, "most": -confidence, "given": rows}[self._sort]
        order = np.lexsort((rows, key, self._passes[rows], rows != self._front))
        return [int(row) for row in rows[order[:count]]]

    def decision(self, row: int) -> Decision:
        """What was said of a row that is judged."""
        confirmed = self._label[row] == self._predicted[row]
        return Decision(
            row,
            *self.prediction(row),
            "confirmed" if confirmed else "overridden",
            self._names[self._label[row]],
            float(self._seconds[row]),
        )

    def latest(self, count: int) -> list[Decision]:
        """What was said last, the latest first."""
        judged = (row for row, judged in reversed(self._history) if judged)
        return [self.decision(row) for row, _ in zip(judged, range(count), strict=False)]

    def scores(self, row: int) -> list[tuple[str, float]]:
        """The likeliest classes of a row, at most `TOP`, with their confidences, the surest first."""
        pairs = zip(self._top[row], self._top_confidence[row], strict=True)
        return [(self._names[code], float(confidence)) for code, confidence in pairs if code != UNKNOWN]

    def figures(self) -> Figures:
        """How far it is."""
        judged = self._label != UNKNOWN
        confirmed = int((judged & (self._label == self._predicted)).sum())
        first = self._predicted if self._baseline is None else self._baseline
        reference = first if self._true is None else self._true
        compared = judged & (reference != UNKNOWN)
        return Figures(
            total=len(self),
            predicted=int((self._predicted != UNKNOWN).sum()),
            failed=int(self._failed.sum()),
            judged=int(judged.sum()),
            confirmed=confirmed,
            skipped=int((self._is_open() & (self._passes > 0)).sum()),
            agreement=confirmed / int(judged.sum()) if judged.any() else None,
            accuracy=_share(self._label == reference, compared),
            before=None if self._true is None else _share(first == reference, compared),
            reference="predictions" if reference is self._predicted else "baseline" if reference is first else "true",
        )

    def to_frame(self, index: pd.Index[Any] | None = None) -> pd.DataFrame:
        """See `Review.to_frame`."""
        import pandas as pd

        judged = self._label != UNKNOWN
        decisions = np.where(self._label == self._predicted, "confirmed", "overridden").astype(object)
        decisions[~judged] = None
        columns = {
            "prediction": self._named(self._predicted),
            "confidence": self._confidence,
            "decision": decisions,
            "label": self._named(self._label),
            "seconds": np.where(judged, self._seconds, np.nan),
        }
        given = {"true": self._true, "baseline": self._baseline}
        columns |= {name: self._named(codes) for name, codes in given.items() if codes is not None}
        return pd.DataFrame(columns, index=index)

    def _is_open(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (self._predicted != UNKNOWN) & (self._label == UNKNOWN)
        return found

    def _forget(self, row: int) -> None:
        """Of a row that is judged or put off again, as in two pages at once, only the last counts."""
        if self._label[row] != UNKNOWN:
            self._history.remove((row, True))
            self._label[row] = UNKNOWN
        if self._front == row:
            self._front = UNKNOWN

    def _code(self, name: str) -> int:
        if name not in self._codes:
            self._codes[name] = len(self._names)
            self._names.append(name)
        return self._codes[name]

    def _coded(self, field: str, labels: Sequence[Any] | None, rows: int) -> NDArray[np.int32] | None:
        if labels is None:
            return None
        if len(labels) != rows:
            raise StreaminferError(
                "invalid_request", f"{field}: {rows} are needed, one a row, found {len(labels)}.", field=field
            )
        return np.array([UNKNOWN if _missing(each) else self._code(_name(each)) for each in labels], np.int32)

    def _named(self, codes: NDArray[np.int32]) -> NDArray[np.object_]:
        return np.array([*self._names, None], object)[codes]


def _share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
    return float(hits[among].mean()) if among.any() else None


def _missing(label: object) -> bool:
    return label is None or label != label


def _name(label: Any) -> str:
    """As models name classes: a number that a frame made a float is the whole one that it was."""
    value = label.item() if hasattr(label, "item") else label
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
