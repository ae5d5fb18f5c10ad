"""Which forward computes a folder, in which dtype and with how long a context; and that it is computed right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from jupyter_streaminfer.inference.native_library import library
from jupyter_streaminfer.protocol import DType, StreaminferError

from .conftest import FORWARDS, Outcome, alone, build_folder, generate_job, load_generator, rejected
from .reference import Reference

PROMPT = [*range(3, 33)]
needs_kernels = pytest.mark.skipif(library() is None, reason="the package was built without kernels")


def edited(source: Path, folder: Path, **changes: Any) -> Path:
    """A copy whose config has these fields; ``...``: not this one."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))
    return folder


def greedy(folder: Path, **arguments: Any) -> Outcome:
    job = generate_job("a", PROMPT, max_tokens=30, temperature=0, ignore_eos=True, logprobs=2)
    return alone(load_generator(folder, **arguments), job)


LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 1e4}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 1e4}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
CHOICES: list[tuple[dict[str, Any], str]] = [
    ({}, "native"),
    ({"rope_parameters": LINEAR}, "native"),
    ({"rope_parameters": ..., "rope_scaling": {"type": "linear", "factor": 2}}, "native"),
    ({"rope_parameters": {**LLAMA3, "original_max_position_embeddings": 32}}, "native"),
    ({"rope_parameters": YARN}, "native"),
    ({"rope_parameters": DYNAMIC}, r"transformers .*RoPE of type 'dynamic'"),
    ({"hidden_act": "gelu"}, r"transformers .*hidden_act = 'gelu' is not supported, expected 'silu'"),
    ({"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 128}, "native"),
    (
        {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 20},
        r"transformers .*a sliding window of 20 within a context of 128",
    ),
]


@needs_kernels
@pytest.mark.parametrize(("changes", "runner"), CHOICES)
def test_the_first_forward_that_can(llama_folder: Path, tmp_path: Path, changes: dict[str, Any], runner: str) -> None:
    folder = edited(llama_folder, tmp_path, **changes)
    told = load_generator(folder).info.runner
    assert told.startswith(runner.split()[0])
    assert runner.rpartition(".*")[2] in told
    Reference(folder).assert_greedy([PROMPT], [greedy(folder).token_ids])


@needs_kernels
def test_heads_that_no_vector_holds_are_left_to_torch(torch_folder: Path) -> None:
    assert load_generator(torch_folder).info.runner.startswith("torch (the kernels compute")


def test_older_rope_fields_mean_the_same(either_folder: Path, tmp_path: Path) -> None:
    old = edited(either_folder, tmp_path / "old", rope_parameters=..., rope_theta=25000.0, rope_scaling=None)
    new = edited(either_folder, tmp_path / "new", rope_parameters={"rope_type": "default", "rope_theta": 25000.0})
    assert greedy(old) == greedy(new)
    assert greedy(old).logprobs != greedy(either_folder).logprobs


@pytest.fixture(scope="module", params=FORWARDS.values(), ids=FORWARDS.keys())
def bfloat16_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as most are stored."""
    folder = build_folder(tmp_path_factory.mktemp("brief"), head_dim=request.param)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def assert_kept(folder: Path, asked: DType, kept: str) -> None:
    """Kernels fill up their panels: with AVX-512 that is 7 % of so small a model, where AVX2 had stayed below 5 %."""
    info = load_generator(folder, dtype=asked).info
    assert info.dtype == kept
    assert info.weight_bytes / info.parameters == pytest.approx({"float32": 4, "bfloat16": 2}[kept], rel=0.15)


@pytest.mark.parametrize("asked", ["auto", "float32", "bfloat16"])
def test_bfloat16_weights_are_kept_unless_torch_would_be_slow_with_them(bfloat16_folder: Path, asked: DType) -> None:
    native = load_generator(bfloat16_folder).info.runner.startswith("native")
    assert_kept(
        bfloat16_folder, asked, "bfloat16" if asked == "bfloat16" or (asked == "auto" and native) else "float32"
    )


@pytest.mark.parametrize("asked", ["auto", "float32", "bfloat16"])
def test_float32_weights_are_kept_unless_somebody_asks_for_less(either_folder: Path, asked: DType) -> None:
    assert_kept(either_folder, asked, "bfloat16" if asked == "bfloat16" else "float32")


def test_int8_is_for_the_kernels(llama_folder: Path, torch_folder: Path, general_folder: Path) -> None:
    for folder, said in ((torch_folder, "kernels of the CPU only"), (general_folder, "Llama family only")):
        with pytest.raises(StreaminferError, match=said) as caught:
            load_generator(folder, dtype="int8")
        assert (caught.value.code, caught.value.field) == ("invalid_request", "dtype")


@needs_kernels
def test_int8_weights_take_a_quarter(tmp_path: Path) -> None:
    folder = build_folder(tmp_path, hidden_size=256, intermediate_size=512)
    whole, brief = load_generator(folder), load_generator(folder, dtype="int8")
    assert brief.info.dtype == "int8"
    assert 0.25 <= brief.info.weight_bytes / whole.info.weight_bytes < 0.28
    assert len(greedy(folder, dtype="int8").token_ids) == 30


@pytest.mark.parametrize(("own", "blocks", "context"), [(16384, 128, 2048), (16384, 256, 4096), (512, 128, 512)])
def test_the_context_is_what_the_cache_holds(
    any_folder: Path, tmp_path: Path, own: int, blocks: int, context: int
) -> None:
    """Blocks are shared: one sequence may have them all, and many short ones run together."""
    folder = edited(any_folder, tmp_path, max_position_embeddings=own)
    runtime = load_generator(folder, blocks=blocks)
    assert (runtime.info.context_length, runtime.info.max_batch_size) == (context, 32)
    assert runtime.info.cache_bytes == blocks * 16 * runtime.model.token_bytes
    assert f"the model's context is {context}" in rejected(runtime, generate_job("a", [5] * (context + 1))).message


def test_a_sequence_may_fill_the_whole_cache(either_folder: Path, tmp_path: Path) -> None:
    folder = edited(either_folder, tmp_path, max_position_embeddings=16384)
    runtime = load_generator(folder, blocks=8)
    outcome = alone(runtime, generate_job("a", PROMPT, temperature=0, max_tokens=128 - 30, ignore_eos=True))
    Reference(folder).assert_greedy([PROMPT], [outcome.token_ids])
    runtime.check_idle()
