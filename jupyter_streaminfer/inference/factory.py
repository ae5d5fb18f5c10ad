"""``module:function``: code of the server's own environment that makes a model, where the configuration allows it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from jupyter_streaminfer.inference.checkpoint import refuse
from jupyter_streaminfer.inference.module_model import ModuleModel, by_parameters
from jupyter_streaminfer.inference.predict_model import PredictModel
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.protocol import FACTORY_PATTERN, ModelInfo, Signature, TensorSpec

ANYTHING = Signature([TensorSpec("inputs", "any")])
"""Of a callable that does not say what it takes: a list of whatever JSON has, to a list as long."""


class Yields:
    """A generator function that a factory returned, for the runtime of streams."""

    def __init__(self, function: Callable[[Any], Any], info: ModelInfo) -> None:
        self.function = function
        self.info = info


def is_factory(text: str) -> bool:
    """Whether that is ``module:function`` rather than a path."""
    return FACTORY_PATTERN.fullmatch(text) is not None


def load_factory(source: Source) -> PredictModel | Yields:
    """What the function returns: a module, or any callable over a batch, or a generator function.

    Raises `StreaminferError` ``invalid_request`` where it is not allowed, cannot be imported, raises, or returns
    something else.
    """
    name = str(source.path)
    if not any(fnmatchcase(name, pattern) for pattern in source.allowed_factories):
        raise refuse(
            f"{name} is not among the functions that may be imported and called to load a model. To allow it, with any"
            f" arguments, add {name!r} to allowed_factories (the server's c.StreaminferApp.allowed_factories)"
        )
    source.keep_type()
    function = _imported(name)
    source.progress("preparing")
    try:
        made = function(**source.arguments)
    except (Exception, SystemExit) as error:
        raise refuse(f"the factory {name} failed: {type(error).__name__}: {error}") from error
    return _model(name, made, source)


def _imported(name: str) -> Callable[..., Any]:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise refuse(f"the factory's module {module} cannot be imported: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise refuse(f"{module} has no function {path}")
        found = getattr(found, part)
    if not callable(found):
        raise refuse(f"{name} is {type(found).__name__}, expected a function")
    return found  # type: ignore[no-any-return]


def _model(name: str, made: Any, source: Source) -> PredictModel | Yields:
    """A model of what a factory returned."""
    said = None
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Signature):
        made, said = made
    said = source.signature or said or getattr(made, "signature", None)
    if isinstance(made, PredictModel):
        return made
    if not callable(made) or inspect.isclass(made):
        raise refuse(
            f"the factory {name} returned {type(made).__name__}, expected a torch.nn.Module, another callable over a"
            " batch, a generator function, or a tuple of one of these and a Signature"
        )
    if said is not None and not isinstance(said, Signature):
        raise refuse(f"the factory {name} gives a signature that is {type(said).__name__}, expected a Signature")
    if yields(made):
        return Yields(made, ModelInfo("stream", name, 0, 0, source.device.type, "float32", signature=said))
    device = source.device if isinstance(made, nn.Module) else torch.device("cpu")
    if isinstance(made, nn.Module):
        if said is None:
            raise refuse(
                f"the factory {name} returned a module and does not say what it takes: return (module, Signature), or"
                " give a signature with the load",
                "signature",
            )
        made = made.to(device).eval()
    signature = said or ANYTHING
    try:
        compute, names = by_parameters(made, [spec.name for spec in signature.inputs])
    except TypeError as error:
        raise refuse(f"what the factory {name} returned does not fit its signature: {error}", "signature") from None
    return ModuleModel(
        compute,
        names,
        signature,
        device,
        parameters=made.parameters() if isinstance(made, nn.Module) else (),
        buffers=made.buffers() if isinstance(made, nn.Module) else (),
        architecture=type(made).__name__,
        runner=name,
    )


def yields(function: Callable[..., Any]) -> bool:
    """Whether calling it makes a generator, ordinary or asynchronous."""
    call = getattr(function, "__call__", None)  # noqa: B004 (its code is asked for, not whether it has any)
    return any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in (function, call))
