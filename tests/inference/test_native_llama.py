"""The CPU kernels against transformers, and against themselves: the same bits whatever a sequence is computed with."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import build_causal
from transformers import AutoModelForCausalLM, PreTrainedConfig, Qwen2Config, Qwen3Config

import jupyter_streaminfer
from jupyter_streaminfer.inference import native_library
from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.checkpoint import UnsupportedError, read_json
from jupyter_streaminfer.inference.native_library import Kernels, builds, library
from jupyter_streaminfer.inference.native_llama import FORMS, MAX_INT8_DEPTH, NativeLlama
from jupyter_streaminfer.inference.scheduler import Chunk

from .by_hand import ByHand, assert_equal, prompts, reference
from .test_torch_llama import VARIANTS, config

DEMO = Path(jupyter_streaminfer.__file__).parent / "models" / "demo"
WIDE = {"head_dim": 16, "hidden_size": 72, "intermediate_size": 100, "vocab_size": 173}
"""Sizes that fill no panel and no tile evenly."""
COUNT = 12
PROMPTS = prompts(160, 7, 70)


@pytest.fixture(params=builds(), autouse=True)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kernels:
    """Every build that this processor runs, not only the one that it is given."""
    monkeypatch.setattr(native_library, "builds", lambda: [request.param])
    kernels = library()
    assert kernels is not None, "the package was built without it"
    return kernels


def load(folder: Path, form: str = "float32", threads: int = 2) -> NativeLlama:
    size = Architecture.read(read_json(folder / "config.json"))
    return NativeLlama(folder, size, dtype=form.split()[-1], rounds=form.startswith("rounding"), threads=threads)


def test_the_package_was_built_with_kernels_for_this_processor(kernels: Kernels) -> None:
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


def test_who_asks_for_bfloat16_has_what_is_multiplied_rounded_too(tmp_path: Path, kernels: Kernels) -> None:
    """Where the processor multiplies bfloat16 by itself; nothing else is rounded."""
    folder = build_causal(tmp_path, config(**WIDE), dtype="bfloat16")
    reference_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if kernels.panel_depth(FORMS.index("rounding bfloat16")) > 1:
        for module in reference_model.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(lambda _, inputs: (inputs[0].bfloat16().float(),))
    expected = [reference(reference_model, prompt, COUNT) for prompt in PROMPTS]
    # A sum whose last bit differs may be rounded to the next bfloat16, and then all that follows differs as much.
    assert_equal(ByHand(load(folder, "rounding bfloat16")).greedy(PROMPTS, COUNT), expected, 0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_int8_equals_float32_with_the_rounded_weights(tmp_path: Path, tied: bool, kernels: Kernels) -> None:
    """Each output of a matrix is rounded to 127 steps of its own.

    Where the processor multiplies int8 by itself, a row is rounded to 32,767 steps of its own; nothing else is.
    """
    folder = build_causal(tmp_path, config(**WIDE, tie_word_embeddings=tied))
    rounded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for parameter in rounded.parameters():
            if parameter.ndim == 2:
                scale = parameter.abs().amax(1, keepdim=True) / 127
                parameter.copy_((parameter / scale).round() * scale)
    expected = [reference(rounded, prompt, COUNT) for prompt in PROMPTS]
    rounds = kernels.panel_depth(FORMS.index("int8")) > 1
    assert_equal(ByHand(load(folder, "int8")).greedy(PROMPTS, COUNT), expected, 2e-3 if rounds else 1e-4)


@pytest.mark.parametrize("dtype", FORMS)
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


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", FORMS)
def test_what_is_not_finite_stays_so_where_rows_are_rounded(tmp_path: Path, dtype: str, value: float) -> None:
    """A row is rounded by its largest number: a NaN must not become one that looks sound, nor reach another row."""
    model = load(build_causal(tmp_path, config(**WIDE)), dtype)
    hidden = torch.randn(3, model.hidden_size, generator=torch.Generator().manual_seed(0))
    sound = model.logits(hidden)
    broken = hidden.clone()
    broken[1, 5] = value
    found = model.logits(broken)
    assert not found[1].isfinite().any()
    assert torch.equal(found[[0, 2]], sound[[0, 2]])


def test_rows_of_zeros_and_of_tiny_and_huge_numbers(tmp_path: Path) -> None:
    """Rows have steps of their own in int8, however large or small their numbers are."""
    folder = build_causal(tmp_path, config(**WIDE))
    model, exact = load(folder, "int8"), load(folder)
    row = torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(0))
    factors = torch.tensor([0.0, 1e-30, 1.0, 1e30])
    found, expected = model.logits(factors[:, None] * row), exact.logits(row[None])
    assert torch.equal(found[0], torch.zeros(model.vocabulary))
    for factor, each in zip(factors[1:], found[1:], strict=True):
        torch.testing.assert_close(each / factor, expected[0], atol=0.05, rtol=0.05)


def test_sums_that_int8_could_overflow_are_refused(tmp_path: Path) -> None:
    folder = build_causal(tmp_path, config(**WIDE))
    size = replace(Architecture.read(read_json(folder / "config.json")), intermediate=MAX_INT8_DEPTH + 1)
    with pytest.raises(UnsupportedError, match="at most 65536 products of int8, not 65537"):
        NativeLlama(folder, size, dtype="int8", threads=1)


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
