"""Any function over columns as a model: an exported program, a TorchScript module, what a factory returned."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import torch
from torch import nn

from jupyter_streaminfer.inference.predict_model import Batch, Outputs, PredictModel
from jupyter_streaminfer.inference.ragged import Computed, by_length
from jupyter_streaminfer.protocol import ModelInfo, Signature

PROBABILITIES = "probabilities"
"""What the one result of a classifier is called that is no logits, so needs no softmax."""

Function = Callable[[Batch], Any]


class ModuleModel(PredictModel):
    """A function of columns, by name. Rows of different lengths come padded where it takes their mask.

    Without a mask, or where results are as long as their rows, rows of one length are computed together instead.
    """

    def __init__(
        self,
        function: Function,
        names: Seq[str],
        signature: Signature,
        device: torch.device,
        *,
        parameters: Iterable[torch.Tensor] = (),
        buffers: Iterable[torch.Tensor] = (),
        architecture: str,
        runner: str,
        static_batch: int | None = None,
        largest_batch: int | None = None,
    ) -> None:
        """``names``: the columns that it takes, masks among them. ``static_batch``: the only number of rows that it
        computes, where there is one; smaller batches are filled up with copies of a row.
        """
        learned = list(parameters)
        weights = [*learned, *buffers]
        self.device = device
        self.largest_batch = static_batch or largest_batch
        self._static_batch = static_batch
        self._function = function
        self._varying = {
            spec.name: [axis for axis, size in enumerate(spec.shape, 1) if size is None]
            for spec in signature.inputs
            if None in spec.shape
        }
        self._masks = {mask: name for name in self._varying for mask in masks(name, names)}
        results = any(None in spec.shape for spec in signature.outputs)
        self._unpadded = bool(self._varying) and (results or set(self._masks.values()) != set(self._varying))
        self._kind = signature.kind
        self._finished = [spec.name for spec in signature.outputs] == [PROBABILITIES]
        self.info = ModelInfo(
            task="predict",
            architecture=architecture,
            parameters=sum(each.numel() for each in learned),
            weight_bytes=sum(each.nbytes for each in weights),
            device=device.type,
            dtype=main_dtype(weights),
            runner=runner,
            signature=signature,
        )

    def forward(self, batch: Batch) -> Outputs:
        """See `PredictModel.forward`."""
        if self._unpadded:
            return by_length(self._compute, batch, self._varying)
        return self._compute(batch)

    def _compute(self, batch: Batch) -> Computed:
        columns = dict(batch)
        for mask, name in self._masks.items():
            columns[mask] = columns[f"{name}_mask"]
        count = len(next(iter(columns.values())))
        if self._static_batch is None or count == self._static_batch:
            return self._answer(self._function(columns))
        filled = {name: _filled(column, self._static_batch) for name, column in columns.items()}
        return _first(self._answer(self._function(filled)), count)

    def _answer(self, output: Any) -> Computed:
        """What a function returned, as `PredictModel.forward` is to return it; raises `TypeError` for nonsense."""
        computed = _tensors(output)
        if isinstance(computed, Mapping) and (len(output) > 1 or self._kind == "tensors"):
            return computed
        if isinstance(computed, Mapping):
            (computed,) = computed.values()
        if self._kind != "classes" or self._finished:
            return computed
        if not isinstance(computed, torch.Tensor):
            raise TypeError(
                f"a classifier must return a tensor [rows, labels] of logits, found {type(computed).__name__}"
            )
        return computed.softmax(-1)


def masks(name: str, names: Seq[str]) -> list[str]:
    """Which of the names are those of masks of the input ``name``, where its rows differ in length."""
    wanted = [f"{name}_mask"] + (["attention_mask"] if name == "input_ids" else [])
    return [each for each in wanted if each in names]


def main_dtype(weights: Iterable[torch.Tensor]) -> str:
    """What most of the weights' bytes are kept in; ``float32`` where there are none."""
    sizes: dict[str, int] = {}
    for tensor in weights:
        name = str(tensor.dtype).removeprefix("torch.")
        sizes[name] = sizes.get(name, 0) + tensor.nbytes
    return max(sizes, key=sizes.__getitem__, default="float32")


def by_parameters(function: Callable[..., Any], inputs: Seq[str]) -> tuple[Function, list[str]]:
    """A function of arguments as one of columns, and the names of those that it takes.

    A function of one input may call it what it likes; others get their inputs by name. Masks are given to parameters
    that are called so.
    """
    try:
        forward = function.forward if isinstance(function, nn.Module) else function
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        parameters = inspect.Signature().parameters.values()
    known = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    possible = [*inputs, *(f"{name}_mask" for name in inputs), "attention_mask"]
    names = [name for name in possible if name in known]
    if len(inputs) == 1 and inputs[0] not in names:
        only = inputs[0]
        return lambda columns: function(columns[only], **{name: columns[name] for name in names}), [only, *names]
    if any(each.kind == each.VAR_KEYWORD for each in parameters):
        names = list(inputs)
    if missing := set(inputs) - set(names):
        raise TypeError(f"it has no parameters for the signature's inputs {', '.join(sorted(missing))}")
    return lambda columns: function(**{name: columns[name] for name in names}), names


def _filled(column: Any, count: int) -> Any:
    """A column of that many rows, with its last one again and again."""
    missing = count - len(column)
    if isinstance(column, torch.Tensor):
        return torch.cat([column, column[-1:].expand(missing, *column.shape[1:])])
    return [*column, *column[-1:] * missing]


def _first(output: Computed, count: int) -> Computed:
    """The first rows of what was computed."""
    return {name: column[:count] for name, column in output.items()} if isinstance(output, Mapping) else output[:count]


def _tensors(output: Any) -> Computed:
    """Arrays as tensors, half precision as single."""
    if isinstance(output, torch.Tensor):
        return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
    if isinstance(output, np.ndarray):
        return torch.from_numpy(output) if output.dtype.kind in "fiub" else output.tolist()
    if isinstance(output, Mapping):
        columns = {str(name): _tensors(value) for name, value in output.items()}
        if not columns or not all(isinstance(value, torch.Tensor) for value in columns.values()):
            raise TypeError("it returned a dict whose values are no tensors or arrays: give a list of one value a row")
        return columns  # type: ignore[return-value]
    if isinstance(output, tuple) and output and all(isinstance(each, torch.Tensor) for each in output):
        if len(output) == 1:
            return _tensors(output[0])
        return {f"output_{index}": _tensors(each) for index, each in enumerate(output)}  # type: ignore[misc]
    if isinstance(output, list | tuple):
        return list(output)
    raise TypeError(
        f"it returned {type(output).__name__}, expected a tensor or an array [rows, ...], a dict of them by name, or a"
        " list of one value a row"
    )
