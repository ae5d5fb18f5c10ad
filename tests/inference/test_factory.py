"""``module:function``: only what is allowed is imported, and what it does wrong is that load's error."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.inference.yielding import Yielding
from jupyter_streaminfer.protocol import ErrorInfo, Signature, StreaminferError, TensorSpec

from .encoders import answer, company, load_predictor
from .modules import Masked, Mlp, rows, seeded

MODULE = "inference.factories"
ALLOWED = (f"{MODULE}:*",)


def load(name: str, **options: Any) -> Any:
    return load_predictor(f"{MODULE}:{name}", **{"allowed_factories": ALLOWED, **options})


def test_a_module_with_its_signature() -> None:
    predictor = load("mlp")
    predictor.warm_up()
    with torch.no_grad():
        expected = seeded(Mlp).eval()(rows(3)).softmax(-1)
    found = answer(predictor, rows(3).tolist())
    assert [each["confidence"] for each in found] == pytest.approx(expected.amax(-1).tolist(), abs=1e-6)
    assert predictor.info.architecture == "Mlp"
    assert predictor.info.runner == f"{MODULE}:mlp"
    assert predictor.info.parameters > 0


def test_a_signature_as_an_attribute_or_with_the_load() -> None:
    given = Signature([TensorSpec("x", "float32", [16])], kind="tensors")
    one = answer(load("attributed"), rows(2).tolist())
    assert answer(load("bare", signature=given), rows(2).tolist()) == one
    assert answer(load("bare", signature=given, arguments={"seed": 1}), rows(2).tolist()) != one
    with pytest.raises(StreaminferError, match="does not say what it takes") as refusal:
        load("bare")
    assert refusal.value.field == "signature"


def test_rows_of_different_lengths_are_masked() -> None:
    predictor = load("masked")
    asked = [[1], [2, 3, 4], list(range(40))]
    module = seeded(Masked).eval()
    with torch.no_grad():
        alone = torch.cat([module(torch.tensor([row]), torch.ones(1, len(row)).bool()) for row in asked])
    assert torch.allclose(torch.tensor(company(predictor, asked)), alone, atol=1e-5)


def test_any_callable_over_a_batch() -> None:
    predictor = load("shouting", arguments={"mark": "?"})
    predictor.warm_up()
    assert answer(predictor, ["a", "b", 3]) == ["A?", "B?", "3?"]
    assert answer(load("area"), {"width": [2, 3], "height": [4, 5]}) == [8, 15]


def test_a_generator_function_streams() -> None:
    runtime = load_runtime(f"{MODULE}:counting", allowed_factories=ALLOWED)
    assert isinstance(runtime, Yielding)
    assert runtime.info.task == "stream"
    runtime.close()


@pytest.mark.parametrize("allowed", [(), ("inference.factories",), ("other:*",), (f"{MODULE}:mlp2",)])
def test_what_is_not_allowed_is_not_imported(allowed: tuple[str, ...]) -> None:
    with pytest.raises(StreaminferError, match=r"c.StreaminferApp.allowed_factories") as refusal:
        load("mlp", allowed_factories=allowed)
    assert refusal.value.code == "invalid_request"
    with pytest.raises(StreaminferError, match="allowed_factories"):
        load_predictor("antigravity:fly", allowed_factories=allowed)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raising", "factories:raising failed: RuntimeError: no such file: weights"),
        ("leaving", "factories:leaving failed: SystemExit: 3"),
        ("nonsense", "returned int, expected a torch.nn.Module"),
        ("a_class", "returned type, expected"),
        ("generator", "returned generator, expected"),
        ("other_parameters", "has no parameters for the signature's inputs height"),
        ("missing", "has no function missing"),
        ("NOT_A_FUNCTION", "is int, expected a function"),
    ],
)
def test_a_factory_that_does_wrong_is_named(name: str, message: str) -> None:
    with pytest.raises(StreaminferError, match=message) as refusal:
        load(name)
    assert refusal.value.code == "invalid_request"


def test_arguments_that_do_not_fit_and_modules_that_are_not_there() -> None:
    with pytest.raises(StreaminferError, match="unexpected keyword argument 'size'"):
        load("mlp", arguments={"size": 3})
    with pytest.raises(StreaminferError, match=r"module no.such cannot be imported: ModuleNotFoundError"):
        load_predictor("no.such:module", allowed_factories=["*"])


@pytest.mark.parametrize(("name", "message"), [("miscounting", "for"), ("mapping", "no tensors or arrays")])
def test_a_callable_that_answers_nonsense_fails_the_request(name: str, message: str) -> None:
    error = answer(load(name), [1, 2])
    assert isinstance(error, ErrorInfo)
    assert error.code == "internal"
    assert message in error.message
