"""Modules on their way out of a notebook: a folder of graph, weights and signature, without a line of code in it.

``config.json``: ``architectures`` ``["ExportedProgram"]``, ``format`` 1, ``signature`` and ``framework``.
``program.pt2``: the graph as ``torch.export`` writes it, its parameters on the meta device, so without their numbers.
``model.safetensors``: parameters and persistent buffers by their names in the module's ``state_dict``.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.export.passes import move_to_device_pass

from jupyter_streaminfer.inference.archive import read_archive
from jupyter_streaminfer.inference.checkpoint import read_json, refuse
from jupyter_streaminfer.inference.graph_signature import check_given, signature_of
from jupyter_streaminfer.inference.module_model import masks
from jupyter_streaminfer.inference.progress import silent
from jupyter_streaminfer.inference.weight_file import WeightFile
from jupyter_streaminfer.protocol import Signature

ARCHITECTURE = "ExportedProgram"
FORMAT = 1
CONFIG, PROGRAM, WEIGHTS = "config.json", "program.pt2", "model.safetensors"


def write_published(folder: Path, module: nn.Module, example: Any, signature: Signature | None = None) -> Signature:
    """Write a module into the empty ``folder``; what it takes and gives, as the server will check it.

    ``example``: rows that the module can compute: a tensor or an array, a tuple of them, or a dict of them by the names
    of ``forward``'s parameters. The first dimension of each counts rows. ``signature``: what `signature_of` says of
    kinds, labels and masks holds. The module computes as it does in ``eval()`` and is left as it was.
    Raises `StreaminferError` ``invalid_request`` with the field (``module``, ``example``, ``signature``) at fault.
    """
    if not isinstance(module, nn.Module):
        raise refuse(f"module must be a torch.nn.Module, found {type(module).__name__}", "module")
    tensors = _by_name(module, example)
    if signature is not None:
        check_given(signature, list(tensors), {name: tensor[0] for name, tensor in tensors.items()})
    exported = _export(module, tensors, signature)
    found = signature_of(exported, signature)
    weights = _weights(module)
    for name, tensor in exported.state_dict.items():
        hollow = tensor.detach().to("meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        exported.state_dict[name] = nn.Parameter(hollow, requires_grad=False) if is_parameter else hollow
    torch.export.save(exported, folder / PROGRAM)
    read_archive(folder / PROGRAM, silent)  # what the server would refuse is refused here
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "architectures": [ARCHITECTURE],
        "format": FORMAT,
        "signature": msgspec.to_builtins(found),
        "framework": {"torch": torch.__version__},
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return found


def write_weights(folder: Path, module: nn.Module, previous: Path) -> None:
    """Write the weights of a module that was published before into the empty ``folder``, with that graph.

    Much faster than `write_published`: nothing is exported. What is no parameter and no persistent buffer stays as it
    was. Raises `StreaminferError` ``invalid_request`` when names, shapes or dtypes are others than in ``previous``.
    """
    weights = _weights(module)
    with WeightFile(previous / WEIGHTS) as before:
        if before.shapes() != {name: (str(tensor.dtype), list(tensor.shape)) for name, tensor in weights.items()}:
            raise refuse(
                "the module's weights have other names, shapes or dtypes than those published before", "module"
            )
    for name in (CONFIG, PROGRAM):
        shutil.copyfile(previous / name, folder / name)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def read_signature(folder: Path) -> Signature:
    """The signature in a published folder's ``config.json``; `StreaminferError` where it is none."""
    values = read_json(folder / CONFIG)
    if values.get("format") != FORMAT:
        raise refuse(
            f"config.json: format must be {FORMAT}, found {values.get('format')!r:.80}: publish the module again"
        )
    try:
        return msgspec.convert(values.get("signature"), Signature)
    except msgspec.ValidationError as error:
        raise refuse(f"config.json: signature: {error}") from None


def _weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """What a module learned, on the CPU, each tensor with memory of its own, as safetensors wants it."""
    weights: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise refuse(f"the module's state {name!r:.80} is no tensor and cannot be published", "module")
        tensor = value.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        weights[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return weights


def _by_name(module: nn.Module, example: Any) -> dict[str, torch.Tensor]:
    """The example's tensors by the parameters of ``forward`` that they are for, on the module's device."""
    forward = inspect.signature(module.forward)
    if any(each.kind is each.VAR_POSITIONAL for each in forward.parameters.values()):
        raise refuse("the module's forward must name its parameters: *args have no signature", "module")
    try:
        if isinstance(example, Mapping):
            bound = forward.bind(**example)
        else:
            bound = forward.bind(*(example if isinstance(example, tuple) else (example,)))
    except TypeError as error:
        raise refuse(f"example does not fit the module's forward: {error}", "example") from None
    device = next((tensor.device for tensor in module.state_dict().values() if isinstance(tensor, torch.Tensor)), "cpu")
    tensors: dict[str, torch.Tensor] = {}
    for name, value in bound.arguments.items():
        if not isinstance(value, torch.Tensor | np.ndarray) or value.ndim == 0 or len(value) == 0:
            raise refuse(f"example {name} must be a tensor or an array of rows, at least one", "example")
        tensor = torch.as_tensor(value).to(device)
        # torch.export takes a dimension of 1 for one that is always 1.
        tensors[name] = torch.cat([tensor, tensor]) if len(tensor) == 1 else tensor
    if len({len(tensor) for tensor in tensors.values()}) != 1:
        raise refuse("example: all tensors must have as many rows as each other", "example")
    return tensors


def _export(
    module: nn.Module, tensors: dict[str, torch.Tensor], signature: Signature | None
) -> torch.export.ExportedProgram:
    """The module's graph, with rows of any number, on the CPU."""
    batch = torch.export.Dim("batch", min=1)
    shapes: dict[str, dict[int, Any]] = {name: {0: batch} for name in tensors}
    for spec in signature.inputs if signature else []:
        lengths = {
            axis: torch.export.Dim(f"{spec.name}_{axis}", min=1)
            for axis, size in enumerate(spec.shape, 1)
            if size is None
        }
        shapes[spec.name] |= lengths
        for mask in masks(spec.name, list(tensors)):
            shapes[mask] |= {axis: length for axis, length in lengths.items() if axis == 1}
    try:
        with _evaluating(module), torch.no_grad():
            exported = torch.export.export(module, (), tensors, dynamic_shapes=shapes)
            if any(tensor.device.type != "cpu" for tensor in tensors.values()):
                exported = move_to_device_pass(exported, "cpu")
    except Exception as error:  # whatever the module's code or the exporter raises
        raise refuse(
            f"torch.export cannot follow the module, with batches of any size: {type(error).__name__}: {error}",
            "module",
        ) from error
    return exported


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """The module in ``eval()``; afterwards each of its parts as before."""
    training = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, was in training.items():
            each.training = was
