"""The CPU kernels against transformers, and against themselves: the same bits whatever a sequence is computed with."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import build_causal
from transformers import AutoModelForCausalLM, PreTrainedConfig, Qwen2Config, Qwen3Config

import jupyter_streaminfer
from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.checkpoint import UnsupportedError, read_json
from jupyter_streaminfer.inference.native_library import library
from jupyter_streaminfer.inference.native_llama import NativeLlama
from jupyter_streaminfer.inference.scheduler import Chunk

from .by_hand import ByHand, assert_equal, prompts, reference
from .test_torch_llama import VARIANTS, config

DEMO = Path(jupyter_streaminfer.__file__).parent / "models" / "demo"
WIDE = {"head_dim": 16, "hidden_size": 72, "intermediate_size": 100, "vocab_size": 173}
"""Sizes that fill no panel and no tile evenly."""
COUNT = 12
PROMPTS = prompts(160, 7, 70)


def load(folder: Path, dtype: str = "float32", threads: int = 2) -> NativeLlama:
    return NativeLlama(folder, Architecture.read(read_json(folder / "config.json")), dtype=dtype, threads=threads)


def test_the_package_was_built_with_kernels_for_this_processor() -> None:
    kernels = library()
    assert kernels is not None
    assert kernels.block_tokens() == BLOCK_TOKENS


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_equals_transformers(tmp_path: Path, variant: PreTrainedConfig) -> None:
    variant = type(variant)(**variant.to_dict() | WIDE)
    folder = build_causal(tmp_path, variant)
    reference_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    expected = [reference(reference_model, prompt, COUNT) for prompt in PROMPTS]
    assert_equal(ByHand(load(folder)).greedy(PROMPTS, COUNT), expected)


def test_bfloat16_weights_give_what_they_give_in_float32(tmp_path: Path) -> None:
    """Only the weights are kept short: activations, keys and values stay float32."""
    folder = build_causal(tmp_path, config(**WIDE), dtype="bfloat16")
    reference_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    expected = [reference(reference_model, prompt, COUNT) for prompt in PROMPTS]
    assert_equal(ByHand(load(folder, "bfloat16")).greedy(PROMPTS, COUNT), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_int8_equals_float32_with_the_rounded_weights(tmp_path: Path, tied: bool) -> None:
    """Each output of a matrix is rounded to 127 steps of its own; nothing else is."""
    folder = build_causal(tmp_path, config(**WIDE, tie_word_embeddings=tied))
    rounded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.ndim == 2:
                scale = parameter.abs().amax(1, keepdim=True) / 127
                parameter.copy_((parameter / scale).round() * scale)
    expected = [reference(rounded, prompt, COUNT) for prompt in PROMPTS]
    assert_equal(ByHand(load(folder, "int8")).greedy(PROMPTS, COUNT), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("kind", [Qwen2Config, Qwen3Config])
def test_the_same_bits_alone_and_in_any_batch(tmp_path: Path, kind: type[PreTrainedConfig], dtype: str) -> None:
    """One token at a time and alone, against random chunks in random company, by one thread and by three."""
    folder = build_causal(tmp_path, config(kind, **WIDE))
    alone = ByHand(load(folder, dtype, 1)).greedy(PROMPTS, COUNT, largest=1, company=1)
    for seed in range(4):
        together = ByHand(load(folder, dtype, 3), seed=seed).greedy(PROMPTS, COUNT, largest=40, company=7)
        assert_equal(together, alone, tolerance=0.0)


def test_long_contexts_span_segments(tmp_path: Path) -> None:
    """Attention scores 128 positions at a time."""
    folder = build_causal(tmp_path, config(**WIDE, max_position_embeddings=512))
    reference_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = prompts(160, 2, 400)[1]
    expected = [reference(reference_model, prompt, 5)]
    assert_equal(ByHand(load(folder)).greedy([prompt], 5, largest=170), expected)


def test_hidden_states_are_the_last_ones_after_the_norm(tmp_path: Path) -> None:
    folder = build_causal(tmp_path, config(**WIDE))
    model = load(folder)
    driver = ByHand(model)
    sequence = driver.start(PROMPTS[4], 1)
    sequence.reads_from = 0
    count = len(PROMPTS[4])
    chunk = Chunk(sequence, count)
    from jupyter_streaminfer.inference.batch import build_batch

    hidden = model.hidden(build_batch([chunk]))
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        states = plain(torch.tensor([PROMPTS[4]]), output_hidden_states=True).hidden_states[-1][0]
    torch.testing.assert_close(hidden, states, atol=1e-4, rtol=1e-4)


def test_a_broken_sequence_does_not_reach_its_neighbours_or_heirs(tmp_path: Path) -> None:
    """Its NaN stay in blocks that the next sequence gets uncleaned."""
    folder = build_causal(tmp_path, config(**WIDE))
    model = load(folder)
    expected = ByHand(model, blocks=8).greedy(PROMPTS[2:4], COUNT)
    model.allocate(8)
    model._cache.fill_(torch.nan)
    driver = ByHand.__new__(ByHand)
    driver.model, driver.draw, driver.free = model, random.Random(0), list(range(8))
    assert_equal(driver.greedy(PROMPTS[2:4], COUNT), expected, tolerance=0.0)


def test_heads_that_no_vector_holds_are_left_to_torch(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="multiple of 16"):
        load(build_causal(tmp_path, config(head_dim=20)))


def test_demo_in_int8_loses_little() -> None:
    """Perplexity of its own documentation, against the bfloat16 weights as they are stored."""
    text = np.array([(index * 7919) % 4000 + 20 for index in range(120)], np.int32)
    losses = {}
    for dtype in ("bfloat16", "int8"):
        model = load(DEMO, dtype)
        model.allocate(8)
        rows = len(text)
        table = np.arange(8, dtype=np.int32)[None]
        batch = Batch(
            text,
            np.arange(rows, dtype=np.int32),
            np.array([0, rows], np.int32),
            table,
            np.arange(rows, dtype=np.int32),
            [rows],
        )
        scores = model.logits(model.hidden(batch)).log_softmax(-1)[:-1]
        losses[dtype] = -scores.gather(1, torch.tensor(text[1:], dtype=torch.long)[:, None]).mean().item()
    assert abs(losses["int8"] - losses["bfloat16"]) < 0.05
