"""From rows to the tensors of a batch: columns as they are, or padded to the longest and masked."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import torch

from jupyter_streaminfer.inference.rows import Rows
from jupyter_streaminfer.protocol import Signature


class Padding:
    """Makes the batches of one model."""

    def __init__(self, signature: Signature, device: torch.device) -> None:
        self._device = device
        self._dimensions = {
            spec.name: [place for place, size in enumerate(spec.shape) if size is None] for spec in signature.inputs
        }
        """Of each input, those that vary."""
        self._plain = {spec.name for spec in signature.inputs if spec.dtype in ("text", "any")}

    def batch(self, rows: Rows) -> dict[str, torch.Tensor | list[Any]]:
        """The rows as `PredictModel.forward` gets them."""
        batch: dict[str, torch.Tensor | list[Any]] = {}
        for name, column in rows.columns.items():
            if isinstance(column, np.ndarray):
                batch[name] = self._tensor(column)
            elif name in self._plain or not isinstance(column[0], np.ndarray):
                batch[name] = column
            else:
                padded, mask = pad(column, self._dimensions.get(name, [0]))
                batch[name] = self._tensor(padded)
                batch[f"{name}_mask"] = self._tensor(mask)
        return batch

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        # A model may write to what it gets, and the same rows are computed again where their batch fails.
        return torch.from_numpy(array.copy()).to(self._device)


def pad(arrays: Seq[np.ndarray], dimensions: Seq[int]) -> tuple[np.ndarray, np.ndarray]:
    """Arrays that differ along ``dimensions``, in one with zeros where they are shorter; and a mask.

    The mask is bool ``[arrays, *the longest along each of dimensions]``, true where an array reaches.
    """
    shapes = np.array([array.shape for array in arrays])
    longest = shapes.max(axis=0)
    padded = np.zeros((len(arrays), *longest), arrays[0].dtype)
    mask = np.ones((len(arrays), *longest[dimensions]), bool)
    for axis, place in enumerate(dimensions):
        reach = np.arange(longest[place]) < shapes[:, place, None]
        mask &= np.expand_dims(reach, [other + 1 for other in range(len(dimensions)) if other != axis])
    if dimensions == [0]:
        padded[mask] = np.concatenate(arrays)
    else:
        for place, array in enumerate(arrays):
            padded[place][tuple(map(slice, array.shape))] = array
    return padded, mask
