"""Exported programs as models: what ``torch.export.save`` wrote, and what ``client.publish`` did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.export.graph_signature import InputKind
from torch.export.passes import move_to_device_pass
from torch.utils import _pytree as pytree

from jupyter_streaminfer.inference.archive import read_archive
from jupyter_streaminfer.inference.checkpoint import refuse
from jupyter_streaminfer.inference.graph_signature import batch_of, inputs_of, max_batch_of, outputs_of, signature_of
from jupyter_streaminfer.inference.module_model import Function, ModuleModel
from jupyter_streaminfer.inference.published import ARCHITECTURE, PROGRAM, WEIGHTS, read_signature
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.inference.weight_file import WeightFile
from jupyter_streaminfer.protocol import Signature


def load_exported(source: Source) -> ModuleModel:
    """The program in a ``.pt2`` file; the source's signature says what the graph does not."""
    source.keep_type()
    source.keep_arguments()
    program = read_archive(source.path, source.progress)
    return _model(program, source.signature, source)


def load_published(source: Source) -> ModuleModel:
    """The program in a folder that `write_published` wrote."""
    source.keep_type()
    source.keep_arguments()
    signature = source.signature or read_signature(source.path)
    program = read_archive(source.path / PROGRAM, source.progress)
    with WeightFile(source.path / WEIGHTS) as weights:
        found = weights.read(source.progress)
    for name, tensor in program.state_dict.items():
        value = found.get(name)
        if tensor.device.type != "meta":
            continue
        if value is None or value.shape != tensor.shape or value.dtype != tensor.dtype:
            had = "is missing" if value is None else f"is {value.dtype} of shape {list(value.shape)}"
            raise refuse(f"tensor {name} {had} in {WEIGHTS}, expected {tensor.dtype} of shape {list(tensor.shape)}")
        is_parameter = isinstance(tensor, nn.Parameter)
        program.state_dict[name] = nn.Parameter(value, requires_grad=False) if is_parameter else value
    return _model(program, signature, source)


def _model(program: torch.export.ExportedProgram, given: Signature | None, source: Source) -> ModuleModel:
    source.progress("preparing")
    signature = signature_of(program, given)
    hollow = [name for name, tensor in program.state_dict.items() if tensor.device.type == "meta"]
    if hollow:
        raise refuse(f"the program has no weights of its own: tensor {min(hollow)} is missing")
    if source.device.type != "cpu":
        program = move_to_device_pass(program, source.device)
    return ModuleModel(
        _flat(program) if _is_flat(program) else _whole(program),
        list(inputs_of(program)),
        signature,
        source.device,
        parameters=program.parameters(),
        buffers=program.buffers(),
        architecture=ARCHITECTURE,
        runner="torch.export",
        static_batch=batch_of(program),
        largest_batch=max_batch_of(program),
    )


def _is_flat(program: torch.export.ExportedProgram) -> bool:
    """Whether there is nothing to check of a call but what its signature says, and nothing that it changes."""
    signature = program.graph_signature
    sizes = [size for tensor in inputs_of(program).values() for size in tensor.shape[1:]]
    changes = signature.buffers_to_mutate or signature.user_inputs_to_mutate
    return not changes and all(isinstance(size, int) for size in sizes)


def _flat(program: torch.export.ExportedProgram) -> Function:
    """The program as one call of its graph, whose arguments are its weights and then its inputs.

    What torch makes of it for general use looks at every call how arguments are nested and what sizes they have: for a
    small model that takes longer than the model.
    """
    graph: Any = program.graph_module
    states = {**program.state_dict, **program.constants}
    fixed = [
        states[each.target] for each in program.graph_signature.input_specs if each.kind is not InputKind.USER_INPUT
    ]
    places = [each.arg.name for each in program.graph_signature.input_specs]
    inputs = [name for name in places if name in inputs_of(program)]
    if places[len(fixed) :] != inputs:
        return _whole(program)
    names = list(outputs_of(program))

    def compute(columns: Mapping[str, Any]) -> Any:
        results = graph(*fixed, *(columns[name] for name in inputs))
        if names == [None]:
            return results[0]
        return dict(zip(names, results, strict=True))

    return compute


def _whole(program: torch.export.ExportedProgram) -> Function:
    """The program as torch runs it, with all its checks."""
    names = list(inputs_of(program))
    tree: Any = program.call_spec.in_spec
    module: Any = program.module(check_guards=False)

    def compute(columns: Mapping[str, Any]) -> Any:
        args, kwargs = pytree.tree_unflatten([columns[name] for name in names], tree)
        return module(*args, **kwargs)

    return compute
