"""That the comparison at load sees what it is for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny_models import build_causal
from transformers import AutoModelForCausalLM, MistralConfig

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.attention import Attention
from jupyter_streaminfer.inference.checkpoint import read_json
from jupyter_streaminfer.inference.self_check import SelfCheck
from jupyter_streaminfer.inference.torch_llama import TorchLlama

CONFIG = MistralConfig(
    vocab_size=160,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    initializer_range=0.2,
    sliding_window=100,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_causal(tmp_path_factory.mktemp("mistral"), CONFIG)


def prepare(folder: Path, context_length: int = 256, window: int | None = None) -> SelfCheck:
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with torch.inference_mode():
        return SelfCheck.prepare(
            lambda prompt: plain(torch.tensor([prompt])).logits[0],
            vocabulary=160,
            context_length=context_length,
            window=window,
        )


def model(folder: Path) -> TorchLlama:
    size = Architecture.read(read_json(folder / "config.json") | {"sliding_window": None})
    return TorchLlama(folder, size, dtype="float32", device=torch.device("cpu"), reason="a test")


@pytest.mark.parametrize("context", [1, 2, 3, 20, 256])
def test_what_is_right_passes(folder: Path, context: int) -> None:
    assert prepare(folder, context).deviation(model(folder)) < 1e-3


def test_other_rotations_are_seen(folder: Path) -> None:
    wrong = model(folder)
    wrong.inverse_frequencies = wrong.inverse_frequencies / 2
    assert prepare(folder).deviation(wrong) > 0.5


def test_a_window_is_exceeded(folder: Path) -> None:
    wrong = model(folder)
    check = prepare(folder, window=100)
    assert check.deviation(wrong) > 0.1
    wrong.attention = Attention(window=100)
    assert check.deviation(wrong) < 1e-3


def test_nan_is_seen(folder: Path) -> None:
    wrong = model(folder)
    wrong.norm[3] = torch.nan
    assert math.isnan(prepare(folder).deviation(wrong))
