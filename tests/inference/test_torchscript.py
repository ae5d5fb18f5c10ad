"""TorchScript, where it is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jupyter_streaminfer.protocol import Signature, StreaminferError, TensorSpec

from .encoders import answer, load_predictor
from .modules import CLASSES, TOKENS, Masked, Mlp, rows, seeded

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


@pytest.fixture(params=[".pt", ".ts"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"mlp{request.param}"
    torch.jit.save(torch.jit.script(seeded(Mlp)), path)
    return path


def load(path: Path, **options: Any) -> Any:
    return load_predictor(path, **{"allow_torchscript": True, "signature": CLASSES, **options})


def test_the_answers_are_the_modules(path: Path) -> None:
    predictor = load(path)
    predictor.warm_up()
    with torch.no_grad():
        expected = seeded(Mlp).eval()(rows(4)).softmax(-1)
    found = answer(predictor, rows(4).tolist())
    assert [each["confidence"] for each in found] == pytest.approx(expected.amax(-1).tolist(), abs=1e-6)
    assert predictor.info.parameters > 0


def test_a_mask_for_rows_of_different_lengths(tmp_path: Path) -> None:
    module = seeded(Masked).eval()
    example = (torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.bool))
    with torch.no_grad():
        torch.jit.save(torch.jit.trace(module, example), tmp_path / "masked.pt")
        predictor = load(tmp_path / "masked.pt", signature=Signature([TOKENS], kind="tensors"))
        found = torch.tensor(answer(predictor, [[1, 2, 3], [4]]))
        assert torch.allclose(found[1], module(torch.tensor([[4]]), torch.ones(1, 1).bool())[0], atol=1e-5)


def test_it_is_refused_unless_allowed_and_without_a_signature(path: Path) -> None:
    with pytest.raises(StreaminferError, match=r"c.StreaminferApp.allow_torchscript"):
        load(path, allow_torchscript=False)
    with pytest.raises(StreaminferError, match="give a signature"):
        load(path, signature=None)
    with pytest.raises(StreaminferError, match="the module takes x, found y"):
        load(path, signature=Signature([TensorSpec("y", "float32", [16])]))


def test_what_is_no_torchscript_is_refused(tmp_path: Path) -> None:
    torch.save(seeded(Mlp).state_dict(), tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("no archive")
    for name in ("weights.pt", "text.pt"):
        with pytest.raises(StreaminferError, match="cannot be read as TorchScript"):
            load(tmp_path / name)
