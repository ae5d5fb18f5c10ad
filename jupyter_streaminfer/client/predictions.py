"""The answer to `Client.predict`: a sequence of predictions, one a row."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, overload

import msgspec
import numpy as np

from jupyter_streaminfer.protocol import Prediction, Result

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SHOWN = 10
"""Rows that a notebook shows."""


class Predictions(Sequence[Prediction]):
    """What a model says of each row, in the request's order."""

    def __init__(self, result: Result) -> None:
        self.model = result.model
        self.version = result.version
        self._outputs = msgspec.json.decode(result.outputs, type=list[Prediction])

    def __len__(self) -> int:
        return len(self._outputs)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...
    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        return self._outputs[index]

    @property
    def labels(self) -> list[str]:
        """Each row's likeliest class."""
        return [output.label for output in self._outputs]

    @property
    def confidences(self) -> NDArray[np.float64]:
        """The probability of each row's label, ``[rows]``, 0 to 1."""
        return np.array([output.confidence for output in self._outputs], dtype=np.float64)

    def to_frame(self) -> pd.DataFrame:
        """One row each: ``label``, ``confidence``, and the probability of every class, named by it."""
        import pandas as pd

        chosen = pd.DataFrame({"label": self.labels, "confidence": self.confidences})
        scores = pd.DataFrame([{score.label: score.confidence for score in output.scores} for output in self._outputs])
        return pd.concat([chosen, scores[sorted(scores.columns)]], axis="columns")

    def __repr__(self) -> str:
        lines = [f"{index}: {output.label} ({output.confidence:.0%})" for index, output in self._shown()]
        return "\n".join([f"<Predictions of {self.model}: {self._count()}>", *lines, *self._rest()])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{index}</td><td>{escape(output.label)}</td><td>{output.confidence:.0%}</td></tr>"
            for index, output in self._shown()
        )
        rest = "".join(f"<p>{line}</p>" for line in self._rest())
        return (
            f"<table><caption>{escape(self.model)}: {self._count()}</caption>"
            f"<thead><tr><th>row</th><th>label</th><th>confidence</th></tr></thead><tbody>{rows}</tbody></table>{rest}"
        )

    def _shown(self) -> list[tuple[int, Prediction]]:
        return list(enumerate(self._outputs[:SHOWN]))

    def _count(self) -> str:
        return "1 row" if len(self) == 1 else f"{len(self)} rows"

    def _rest(self) -> list[str]:
        return [f"and {len(self) - SHOWN} more"] if len(self) > SHOWN else []
