"""Rows of different lengths for a model that has no mask, or whose results are as long as its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from typing import Any

import torch

from jupyter_streaminfer.inference.predict_model import Batch, Outputs

Computed = torch.Tensor | Mapping[str, torch.Tensor] | list[Any]


def by_length(compute: Callable[[Batch], Computed], batch: Batch, varying: Mapping[str, Seq[int]]) -> Outputs:
    """What ``compute`` gives for a batch, without padding: one call for all rows of the same lengths.

    ``varying``: by the columns whose rows differ, along which dimensions, the first of a row being 1.
    """
    extents = torch.cat([_extents(_tensor(batch, f"{name}_mask")) for name in varying], 1)
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, extent in enumerate(extents.tolist()):
        groups.setdefault(tuple(extent), []).append(index)
    answers = [compute(_cut(batch, varying, indices, extent)) for extent, indices in groups.items()]
    order = torch.tensor([index for indices in groups.values() for index in indices]).argsort()
    by_name = [answer for answer in answers if isinstance(answer, Mapping)]
    if not by_name:
        return _joined(answers, order)
    named = {name: _joined([answer[name] for answer in by_name], order) for name in by_name[0]}
    tensors = {name: column for name, column in named.items() if isinstance(column, torch.Tensor)}
    if len(tensors) == len(named):
        return tensors
    lists = {name: _rows(column) for name, column in named.items()}
    return [{name: column[row] for name, column in lists.items()} for row in range(len(order))]


def _joined(parts: list[Any], order: torch.Tensor) -> torch.Tensor | list[Any]:
    """The rows of all parts, in this order: one tensor where they are of one shape, otherwise nested lists."""
    if all(isinstance(part, torch.Tensor) for part in parts) and len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(parts)[order.to(parts[0].device)]
    rows = [row for part in parts for row in _rows(part)]
    return [rows[index] for index in order.tolist()]


def _rows(column: torch.Tensor | list[Any]) -> list[Any]:
    return column.tolist() if isinstance(column, torch.Tensor) else column


def _extents(mask: torch.Tensor) -> torch.Tensor:
    """How far each row of a mask ``[B, ...]`` reaches along each of its dimensions, ``[B, dimensions]``."""
    reached = []
    for axis in range(1, mask.ndim):
        others = [other for other in range(1, mask.ndim) if other != axis]
        reached.append((mask.any(dim=others) if others else mask).sum(1))
    return torch.stack(reached, 1)


def _cut(batch: Batch, varying: Mapping[str, Seq[int]], indices: list[int], extent: Seq[int]) -> Batch:
    """These rows of a batch, whose varying columns reach as far as ``extent`` says, one after the other."""
    columns: dict[str, torch.Tensor | list[Any]] = {}
    for name, column in batch.items():
        columns[name] = column[indices] if isinstance(column, torch.Tensor) else [column[index] for index in indices]
    lengths = iter(extent)
    for name, axes in varying.items():
        mask, column = _tensor(columns, f"{name}_mask"), _tensor(columns, name)
        for position, axis in enumerate(axes, 1):
            length = next(lengths)
            mask, column = mask.narrow(position, 0, length), column.narrow(axis, 0, length)
        columns[name], columns[f"{name}_mask"] = column, mask
    return columns


def _tensor(batch: Batch, name: str) -> torch.Tensor:
    column = batch[name]
    assert isinstance(column, torch.Tensor)  # noqa: S101 (as the batch of a column of arrays is made)
    return column
