"""Whether a module still computes what it did: everything of it that a graph is made of, but for its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_SKIPPED = ("_parameters", "_modules", "training")


class _OpaqueError(Exception):
    """Something is neither plain nor a tensor nor code."""


def fingerprint(module: Any) -> str | None:
    """A checksum of a ``torch.nn.Module``: its parts, their code and the globals that it names, settings, constants.

    Weights count by name, shape and dtype only. None where something cannot be looked into: that may have changed.
    """
    digest = hashlib.sha256()
    try:
        for fact in _facts(module):
            digest.update(repr(fact).encode())
    except _OpaqueError:
        return None
    return digest.hexdigest()


def _facts(module: Any) -> Iterator[object]:
    yield [(name, str(value.dtype), tuple(value.shape)) for name, value in module.state_dict().items()]
    seen: set[int] = set()
    for name, part in module.named_modules(remove_duplicate=False):
        yield name
        yield from _methods(type(part), seen)
        for key, value in sorted(vars(part).items()):
            if key == "_buffers":
                # Those that are not saved with the weights are constants of the graph.
                value = {each: value[each] for each in part._non_persistent_buffers_set if each in value}
            if key not in _SKIPPED:
                yield key, _value(value, seen)


def _methods(kind: type, seen: set[int]) -> Iterator[object]:
    for base in kind.__mro__:
        yield base.__module__, base.__qualname__
        if not _of_torch(base):
            for name, value in vars(base).items():
                if isinstance(value, FunctionType):
                    yield name, _function(value, seen)


def _function(function: FunctionType, seen: set[int]) -> object:
    """Its bytecode, and what the globals that it names are."""
    if id(function) in seen or _of_torch(function):
        return function.__qualname__
    seen.add(id(function))
    code = function.__code__
    named = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    known = {name: value for name, value in named.items() if isinstance(value, (*_PLAIN, FunctionType))}
    closed = [cell.cell_contents for cell in function.__closure__ or ()]
    closed = [value for value in closed if isinstance(value, (*_PLAIN, FunctionType))]
    defaults = [function.__defaults__, function.__kwdefaults__]
    return _code(code), _value(known, seen), _value(closed, seen), _value(defaults, seen)


def _code(code: CodeType) -> object:
    constants = [_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return code.co_code, code.co_names, constants


def _value(value: Any, seen: set[int]) -> object:
    """A value as something whose text says all of it."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        return [_value(each, seen) for each in value]
    if isinstance(value, dict):
        return [(_value(key, seen), _value(each, seen)) for key, each in value.items()]
    if isinstance(value, set | frozenset):
        return sorted(repr(_value(each, seen)) for each in value)
    if isinstance(value, FunctionType):
        return _function(value, seen)
    if hasattr(value, "detach"):
        return str(value.dtype), value.detach().cpu().tolist()
    if isinstance(value, type) or _of_torch(type(value)) or type(value).__module__ == "builtins":
        return str(value)
    raise _OpaqueError


def _of_torch(value: Any) -> bool:
    return str(value.__module__).partition(".")[0] in ("torch", "builtins")
