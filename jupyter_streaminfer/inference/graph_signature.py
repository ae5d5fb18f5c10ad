"""What an exported program takes and gives, read off its graph."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from jupyter_streaminfer.inference.checkpoint import refuse
from jupyter_streaminfer.inference.module_model import masks
from jupyter_streaminfer.protocol import Signature, TensorSpec

DTYPES: dict[torch.dtype, Any] = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.uint8: "uint8",
    torch.bool: "bool",
}

MAX_BATCH = 2**20
"""What a program says that takes more has no bound."""


def inputs_of(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """The fake tensors that stand for the inputs in the graph, by name, in their order."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    inputs: dict[str, torch.Tensor] = {}
    for name in program.graph_signature.user_inputs:
        value = values.get(name) if isinstance(name, str) else None
        if not isinstance(value, torch.Tensor):
            raise refuse(f"the program's input {name!r:.80} is no tensor: make it a constant of the module")
        inputs[str(name)] = value
    if not inputs:
        raise refuse("the program has no inputs")
    return inputs


def batch_of(program: torch.export.ExportedProgram) -> int | None:
    """The one number of rows that the program computes; None where it computes any."""
    sizes = [tensor.shape[0] if tensor.ndim else None for tensor in inputs_of(program).values()]
    if None in sizes:
        raise refuse("an input of the program is a single number: the first dimension of each must count rows")
    fixed = {int(size) for size in sizes if isinstance(size, int)}
    if not fixed:
        return None
    if len(fixed) > 1 or not all(isinstance(size, int) for size in sizes):
        raise refuse("the program's inputs do not agree in their first dimension, which must count rows")
    return fixed.pop()


def max_batch_of(program: torch.export.ExportedProgram) -> int | None:
    """The most rows that the program computes at once, where it has a bound."""
    sizes: list[Any] = [tensor.shape[0] for tensor in inputs_of(program).values()]
    ranges = [program.range_constraints.get(size.node.expr) for size in sizes if isinstance(size, torch.SymInt)]
    return min((int(each.upper) for each in ranges if each is not None and each.upper < MAX_BATCH), default=None)


def outputs_of(program: torch.export.ExportedProgram) -> dict[str | None, torch.Tensor]:
    """The fake tensors that stand for the results, by name: ``output``, ``output_0`` ..., or a dict's keys.

    The name of a single one that has none is None.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    names = list(program.graph_signature.user_outputs)
    tree: Any = pytree.tree_unflatten(names, program.call_spec.out_spec)
    if isinstance(tree, dict):
        found = dict(tree)
    elif isinstance(tree, tuple | list) and len(tree) > 1:
        found = {f"output_{index}": name for index, name in enumerate(tree)}
    else:
        found = {None: tree[0] if isinstance(tree, tuple | list) and tree else tree}
    outputs: dict[str | None, torch.Tensor] = {}
    for name, node in found.items():
        value = values.get(node) if isinstance(node, str) else None
        if not isinstance(value, torch.Tensor) or value.ndim == 0:
            raise refuse(f"the program's result {name or 'output'} must be a tensor whose first dimension counts rows")
        outputs[name] = value
    return outputs


def signature_of(program: torch.export.ExportedProgram, given: Signature | None = None) -> Signature:
    """The graph's signature; ``given`` adds what a graph does not say: kind, labels, bounds.

    Raises `StreaminferError` ``invalid_request``, field ``signature``, where the two contradict one another.
    """
    inputs = inputs_of(program)
    outputs = outputs_of(program)
    if given is not None:
        check_given(given, list(inputs), {name: tensor[0] for name, tensor in inputs.items()})
        if given.kind in ("classes", "embedding"):
            _check_vector(given, outputs)
        named = [_spec(name or "output", tensor, "output") for name, tensor in outputs.items()]
        return Signature(given.inputs, given.outputs or named, given.kind, given.labels)
    specs = [_spec(name, tensor, "input") for name, tensor in inputs.items()]
    variable = [spec.name for spec in specs if None in spec.shape]
    taken = {mask for name in variable for mask in masks(name, list(inputs))}
    return Signature(
        [spec for spec in specs if spec.name not in taken],
        [_spec(name or "output", tensor, "output") for name, tensor in outputs.items()],
        "tensors",
    )


def check_given(given: Signature, names: list[str], rows: dict[str, torch.Tensor]) -> None:
    """Refuse a signature whose inputs are others than those called ``names``; ``rows``: an example of each."""
    described = [spec.name for spec in given.inputs]
    taken = {mask for spec in given.inputs if None in spec.shape for mask in masks(spec.name, names)}
    if sorted(described) != sorted(set(names) - taken):
        raise refuse(f"signature: inputs must be {sorted(set(names) - taken)}, found {sorted(described)}", "signature")
    for spec in given.inputs:
        row = rows[spec.name]
        dtype = DTYPES.get(row.dtype)
        if spec.dtype != dtype:
            raise refuse(f"signature: input {spec.name} must have dtype {dtype}, found {spec.dtype}", "signature")
        if len(spec.shape) != row.ndim:
            raise refuse(
                f"signature: input {spec.name} must have {row.ndim} dimensions besides the rows, found {spec.shape}",
                "signature",
            )
        for size, found in zip(spec.shape, row.shape, strict=True):
            if size is not None and isinstance(found, int) and size != found:
                raise refuse(
                    f"signature: input {spec.name} has shape {spec.shape}, but a row of it is"
                    f" {[each if isinstance(each, int) else None for each in row.shape]}",
                    "signature",
                )


def _check_vector(given: Signature, outputs: dict[str | None, torch.Tensor]) -> None:
    shapes = [list(tensor.shape[1:]) for tensor in outputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 1:
        raise refuse(f"signature: kind {given.kind!r} needs one result of shape [rows, size]", "signature")
    if given.kind == "classes" and shapes[0][0] != len(given.labels):
        raise refuse(f"signature: {len(given.labels)} labels for a result of {shapes[0][0]} numbers a row", "signature")


def _spec(name: str, tensor: torch.Tensor, role: str) -> TensorSpec:
    dtype: Any = DTYPES.get(tensor.dtype)
    if dtype is None:
        # Results of half precision are answered as single precision.
        if role == "output" and tensor.dtype in (torch.float16, torch.bfloat16):
            dtype = "float32"
        else:
            raise refuse(
                f"{role} {name} of the program is {tensor.dtype}, expected one of {', '.join(DTYPES.values())}"
            )
    return TensorSpec(name, dtype, [size if isinstance(size, int) else None for size in tensor.shape[1:]])
