from collections.abc import Callable

import pytest
import torch
from torch import nn

from jupyter_streaminfer.client.fingerprint import fingerprint

FACTOR = 2.0


def shift(x: torch.Tensor) -> torch.Tensor:
    return x + 1


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.activation = torch.relu
        self.sizes = [3, 3]
        self.register_buffer("mask", torch.ones(3), persistent=False)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return shift(self.activation(self.linear(x))) * self.mask * FACTOR


def weights(part: Part) -> None:
    with torch.no_grad():
        part.linear.weight.add_(1)
        part.mean.add_(1)


def gradients(part: Part) -> None:
    part(torch.ones(1, 3)).sum().backward()


@pytest.mark.parametrize("change", [weights, gradients, lambda part: part.eval(), lambda part: None])
def test_it_is_the_same_with_other_weights(change: Callable[[Part], object]) -> None:
    part = Part()
    before = fingerprint(part)
    assert before is not None
    change(part)
    assert fingerprint(part) == before


def constant(part: Part) -> None:
    part.mask[0] = 0


def method(part: Part) -> None:
    part.forward = lambda x: x  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "change",
    [
        constant,
        method,
        lambda part: setattr(part, "sizes", [3, 4]),
        lambda part: setattr(part, "activation", torch.tanh),
        lambda part: setattr(part, "linear", nn.Linear(3, 3, bias=False)),
        lambda part: part.register_forward_hook(lambda module, inputs, output: output * 2),
    ],
    ids=["constant", "method", "setting", "function", "layer", "hook"],
)
def test_it_is_another_with_another_graph(change: Callable[[Part], object]) -> None:
    part = Part()
    before = fingerprint(part)
    change(part)
    assert fingerprint(part) != before


def test_globals_of_its_code_count(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part()
    before = fingerprint(part)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    other = fingerprint(part)
    assert other != before
    monkeypatch.setitem(globals(), "shift", lambda x: x - 1)
    assert fingerprint(part) not in (before, other)


def test_what_cannot_be_looked_into_has_none() -> None:
    part = Part()
    part.secret = threading_lock()  # type: ignore[assignment]
    assert fingerprint(part) is None


def threading_lock() -> object:
    class Opaque:
        pass

    return Opaque()
