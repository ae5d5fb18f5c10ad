"""What a training says of itself: figures by epoch and step."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from jupyter_streaminfer.protocol import StreaminferError

if TYPE_CHECKING:
    import pandas as pd

MAX_NAMES = 32
MAX_NAME_CHARACTERS = 60
POINTS = 300
"""Of a figure that a page draws, at most; so many that a further one could not be seen."""


class Series(msgspec.Struct, frozen=True):
    """One figure. The TypeScript twin is ``ISeries`` in ``labextension/src/progress/progressView.ts``."""

    name: str
    latest: float | None
    """None where it is not finite."""
    least: float | None
    greatest: float | None
    points: list[tuple[float, float]]
    """Epochs gone by, and the value. Of more than `POINTS`: the least and greatest of each stretch, and the last."""


class TrainingLog:
    """Rows of figures, as they were told. Not thread-safe."""

    def __init__(self) -> None:
        self._epochs = array("l")
        self._steps = array("l")
        self._seconds = array("d")
        self._columns: dict[str, tuple[array[int], array[float]]] = {}
        """Of each figure: in which rows it was told, and what."""
        self._counts: dict[int, int] = {}
        """How many steps an epoch has, as far as that is known."""

    def __len__(self) -> int:
        return len(self._epochs)

    def add(self, epoch: int, step: int, seconds: float, figures: Mapping[str, Any]) -> dict[str, float]:
        """Take a row; ``step`` 0: of the epoch as a whole. Returns the figures as numbers.

        Raises `StreaminferError` where they are none, or too many.
        """
        numbers = {_name(name): _number(name, value) for name, value in figures.items()}
        if len(self._columns.keys() | numbers.keys()) > MAX_NAMES:
            raise _refused(f"{MAX_NAMES} different figures can be logged")
        row = len(self)
        self._epochs.append(epoch)
        self._steps.append(step)
        self._seconds.append(seconds)
        for name, number in numbers.items():
            rows, values = self._columns.setdefault(name, (array("l"), array("d")))
            rows.append(row)
            values.append(number)
        return numbers

    def count(self, epoch: int, steps: int) -> None:
        """An epoch has so many steps."""
        self._counts[epoch] = steps

    def steps_of(self, epoch: int) -> int:
        """How many steps an epoch has, or, where that is not known, had the one before; 0 where that is not either."""
        return self._counts.get(epoch, self._counts.get(epoch - 1, 0))

    def latest(self) -> dict[str, float]:
        """Each figure as it was told last."""
        return {name: values[-1] for name, (_, values) in self._columns.items()}

    def series(self) -> list[Series]:
        """Each figure over the epochs."""
        at = self._at()
        return [
            _series(name, at[np.array(rows, np.int64)], np.array(values))
            for name, (rows, values) in self._columns.items()
        ]

    def by_epoch(self) -> list[tuple[int, dict[str, float]]]:
        """Of each epoch the figures as they were told last in it."""
        found: dict[int, dict[str, float]] = {}
        for name, (rows, values) in self._columns.items():
            for row, value in zip(rows, values, strict=True):
                found.setdefault(self._epochs[row], {})[name] = value
        return sorted(found.items())

    def to_frame(self) -> pd.DataFrame:
        """See `Progress.to_frame`."""
        import pandas as pd

        columns: dict[str, Any] = {
            "epoch": np.array(self._epochs, np.int64),
            "step": np.array(self._steps, np.int64),
            "seconds": np.array(self._seconds),
        }
        for name, (rows, values) in self._columns.items():
            columns[name] = np.full(len(self), np.nan)
            columns[name][np.array(rows, np.int64)] = values
        return pd.DataFrame(columns)

    def _at(self) -> NDArray[np.float64]:
        """Of each row, how many epochs had gone by."""
        epochs, steps = np.array(self._epochs, np.float64), np.array(self._steps, np.float64)
        counts = np.ones(len(self))
        for epoch in np.unique(epochs):
            of_epoch = epochs == epoch
            counts[of_epoch] = max(1.0, float(self.steps_of(int(epoch))), float(steps[of_epoch].max()))
        gone: NDArray[np.float64] = np.where(steps == 0, epochs, epochs - 1 + steps / counts)
        return gone


def _series(name: str, at: NDArray[np.float64], values: NDArray[np.float64]) -> Series:
    finite = np.isfinite(values)
    known = values[finite]
    return Series(
        name,
        float(values[-1]) if finite[-1] else None,
        float(known.min()) if known.size else None,
        float(known.max()) if known.size else None,
        _points(at[finite], known),
    )


def _points(at: NDArray[np.float64], values: NDArray[np.float64]) -> list[tuple[float, float]]:
    if len(values) > POINTS:
        # In their order: no spike is lost, and the line ends where the training is.
        stretches = np.array_split(np.arange(len(values)), POINTS // 2 - 1)
        ends = {end for s in stretches for end in (s[values[s].argmin()], s[values[s].argmax()])}
        kept = sorted({*ends, len(values) - 1})
        at, values = at[kept], values[kept]
    return list(zip(at.round(4).tolist(), values.tolist(), strict=True))


def _name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise _refused(f"names of 1 to {MAX_NAME_CHARACTERS} characters are needed, found {name!r:.80}")
    return name


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        # RuntimeError: a tensor of several numbers.
        raise _refused(f"{name!r} must be one number, found {type(value).__name__}") from None
    except OverflowError:
        number = math.inf
    return number


def _refused(reason: str) -> StreaminferError:
    return StreaminferError("invalid_request", f"log: {reason}.", field="log")
