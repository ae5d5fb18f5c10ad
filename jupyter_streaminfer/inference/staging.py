"""A step's numbers on their way to the device: one copy from host memory that stays, into device memory that stays."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def upload(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """An array on the device; on a GPU the host does not wait until it is there."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class Staging:
    """``target`` is on the device and always at the same place, as a captured graph needs it.

    On a GPU the host's part is pinned, so that the copy runs beside the host, and there are two by turns: the one is
    filled while the other may still be under way.
    """

    def __init__(self, numbers: int, device: torch.device) -> None:
        """Room for that many int64."""
        pinned = device.type == "cuda"
        self.target = torch.zeros(numbers, dtype=torch.int64, device=device)
        self._halves = [torch.zeros(numbers, dtype=torch.int64, pin_memory=pinned) for _ in range(2)]
        self._sent = [torch.cuda.Event() for _ in self._halves] if pinned else []  # type: ignore[no-untyped-call]
        self._turn = 0

    def send(self, arrays: Seq[npt.NDArray[np.integer]]) -> None:
        """Copy the arrays, one after another, to the beginning of ``target``; the rest of it stays as it is."""
        self._turn = 1 - self._turn
        half = self._halves[self._turn]
        if self._sent:
            self._sent[self._turn].synchronize()
        count = sum(array.size for array in arrays)
        np.concatenate([array.ravel() for array in arrays], out=half[:count].numpy())
        self.target[:count].copy_(half[:count], non_blocking=True)
        if self._sent:
            self._sent[self._turn].record()
