"""What ``module:function`` may point to in a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from jupyter_streaminfer.protocol import Signature, TensorSpec

from .modules import CLASSES, TOKENS, Masked, Mlp, seeded

NOT_A_FUNCTION = 3


def mlp() -> tuple[nn.Module, Signature]:
    return seeded(Mlp), CLASSES


def bare(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(16, 3)


def attributed() -> nn.Module:
    module = bare()
    module.signature = Signature([TensorSpec("numbers", "float32", [16])], kind="tensors")
    return module


def masked() -> tuple[nn.Module, Signature]:
    return seeded(Masked), Signature([TOKENS], kind="tensors")


def shouting(mark: str = "!") -> Any:
    def shout(inputs: list[Any]) -> list[str]:
        return [f"{each}{mark}".upper() for each in inputs]

    return shout


def area() -> Any:
    def compute(width: torch.Tensor, height: torch.Tensor) -> np.ndarray:
        return (width * height).numpy()

    return compute, Signature([TensorSpec("width", "float64"), TensorSpec("height", "float64")], kind="tensors")


def counting() -> Any:
    def count(inputs: Any) -> Iterator[int]:
        yield from range(inputs)

    return count


def generator() -> Iterator[int]:
    yield 1


def raising() -> Any:
    raise RuntimeError("no such file: weights")


def leaving() -> Any:
    raise SystemExit(3)


def nonsense() -> Any:
    return 3


def a_class() -> Any:
    return Mlp


def hanging() -> Any:
    threading.Event().wait()


def leaking() -> Any:
    print("from a factory")
    threading.Thread(target=threading.Event().wait, name="leaked", daemon=False).start()
    return shouting()


def miscounting() -> Any:
    return lambda inputs: inputs[:-1]


def mapping() -> Any:
    return lambda inputs: {"a": inputs}


def other_parameters() -> Any:
    return (lambda width, depth: width), Signature([TensorSpec("width", "float64"), TensorSpec("height", "float64")])
