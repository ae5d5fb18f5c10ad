"""What a loader makes of a folder or file: a model that answers batches of rows, one forward a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from typing import Any

import torch

from jupyter_streaminfer.inference.rows import Rows
from jupyter_streaminfer.protocol import Embed, ModelInfo, StreaminferError

Batch = Mapping[str, torch.Tensor | list[Any]]
"""The columns of some rows, by name. Of an array: a tensor ``[B, *shape]`` on the model's device. Of a list of arrays:
the same, padded with zeros to the longest along every dimension that varies, and beside it ``NAME_mask``, bool
``[B, *the dimensions that vary]``, true where there is something. Which vary, the signature says; in a column that it
does not name, the first. Of a list of anything else: the list."""
Outputs = torch.Tensor | Mapping[str, torch.Tensor] | Seq[Any]
"""For each row of a batch, in its order, what stands for it: a tensor ``[B, ...]``, several by name, or a sequence of
``B`` values that JSON can say. For the kind ``classes`` a tensor ``[B, labels]`` of confidences, in the order of the
signature's labels; for ``embedding`` a tensor ``[B, size]``. What is padded must be gone from them."""


class PredictModel(ABC):
    """A loaded model that predicts. Used from one thread only, under ``torch.inference_mode``."""

    info: ModelInfo
    """With a signature; ``max_batch_size`` is told by the `Predictor`."""
    device: torch.device = torch.device("cpu")
    """Where `forward` wants its tensors."""
    largest_batch: int | None = None
    """How many rows it can compute at once, where it has a bound of its own."""

    def prepare(self, rows: Rows) -> Rows:
        """The rows of a request that fits the signature, as `forward` is to have them: texts as token ids, say.

        All requests' must have the same columns. Raises `StreaminferError` ``invalid_request`` that names the row, as
        `bad_row` makes it, where there is one that cannot be computed.
        """
        return rows

    @abstractmethod
    def forward(self, batch: Batch) -> Outputs:
        """Compute a batch, all rows at once.

        May raise anything: then its halves are tried, until the row that is at fault fails alone.
        """

    def embed(self, request: Embed) -> tuple[Rows, int]:
        """The texts of a request for embeddings as rows, prepared, and how many tokens they have together.

        What `forward` gives for them are their vectors. Raises `StreaminferError` where it embeds no texts.
        """
        raise StreaminferError("invalid_request", "this model predicts; it embeds no texts", field="model")

    def sample(self, count: int) -> Rows | None:
        """``count`` typical rows, prepared, to warm up with; None: zeros in the shapes of the signature."""
        return None


def bad_row(index: int, problem: str, name: str | None = None) -> StreaminferError:
    """The refusal of a request for its row ``index``; ``name``: of the column, where they are named."""
    column = "inputs" if name is None else f"inputs.{name}"
    return StreaminferError("invalid_request", f"row {index} of {column} {problem}", field="inputs")
