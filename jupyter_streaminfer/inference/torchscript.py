"""TorchScript files, which hold code of their own: read only where the configuration allows it."""

from __future__ import annotations

import torch

from jupyter_streaminfer.inference.checkpoint import refuse
from jupyter_streaminfer.inference.module_model import ModuleModel
from jupyter_streaminfer.inference.source import Source


def load_torchscript(source: Source) -> ModuleModel:
    """The module in a ``.pt`` or ``.ts`` file that ``torch.jit.save`` wrote; it needs a signature."""
    name = source.path.name
    if not source.allow_torchscript:
        raise refuse(
            f"{name} is TorchScript, which runs code of the file's own as it is loaded and used. If you trust it, set"
            " allow_torchscript (the server's c.StreaminferApp.allow_torchscript = True); better, write the model with"
            " torch.export.save as a .pt2 file, which needs no trust"
        )
    source.keep_type()
    source.keep_arguments()
    if source.signature is None:
        raise refuse(f"{name} does not say what it takes: give a signature with the load", "signature")
    source.progress("reading", 0, source.path.stat().st_size)
    try:
        module = torch.jit.load(source.path, map_location=source.device).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise refuse(
            f"{name} cannot be read as TorchScript: {error}. (Pickles, as torch.save writes them, are never read.)"
        ) from error
    names = [argument.name for argument in module.forward.schema.arguments[1:]]
    inputs = [spec.name for spec in source.signature.inputs]
    if missing := set(inputs) - set(names):
        raise refuse(f"signature: the module takes {', '.join(names)}, found {', '.join(sorted(missing))}", "signature")
    return ModuleModel(
        lambda columns: module(**{name: columns[name] for name in names if name in columns}),
        names,
        source.signature,
        source.device,
        parameters=module.parameters(),
        buffers=module.buffers(),
        architecture="TorchScript",
        runner="torch.jit",
    )
