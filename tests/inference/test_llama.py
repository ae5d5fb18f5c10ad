"""The forward against transformers, token for token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import jupyter_streaminfer
from jupyter_streaminfer.inference.generator import Generator

from .conftest import build_folder, drain, generate_job, load_generator

DEMO = Path(jupyter_streaminfer.__file__).parent / "models" / "demo"
VARIANTS = {
    "untied, grouped": {},
    "tied": {"tie_word_embeddings": True},
    "one key head": {"num_key_value_heads": 1},
    "as many key heads": {"num_key_value_heads": 4},
    "explicit head_dim": {"head_dim": 20},
    "another rotary base": {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    "another epsilon": {"rms_norm_eps": 1e-2},
}


def reference(folder: Path, prompt: list[int], count: int) -> list[int]:
    """What transformers generates greedily in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=count,
            eos_token_id=None,
        )
    return out[0, len(prompt) :].tolist()


def prompts(vocabulary: int, count: int, longest: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(7)
    lengths = [1 + (i * 11) % longest for i in range(count)]
    return [torch.randint(3, vocabulary, (length,), generator=draw).tolist() for length in lengths]


def greedy(runtime: Generator, every: list[list[int]], count: int) -> list[list[int]]:
    for index, prompt in enumerate(every):
        runtime.submit(generate_job(str(index), prompt, max_tokens=count, temperature=0, ignore_eos=True))
    outcomes = drain(runtime)
    runtime.check_idle()
    return [outcomes[str(index)].token_ids for index in range(len(every))]


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_greedy_equals_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = build_folder(tmp_path, **changes)
    every = prompts(320, 9, 40)
    expected = [reference(folder, prompt, 24) for prompt in every]
    runtime = load_generator(folder)
    assert greedy(runtime, every[4:5], 24) == expected[4:5]
    assert greedy(runtime, every, 24) == expected


@pytest.mark.parametrize(("step_tokens", "batch"), [(1, 1), (3, 2), (7, 3), (64, 9)])
def test_chunked_prefill_equals_whole(llama_folder: Path, step_tokens: int, batch: int) -> None:
    every = prompts(320, 9, 60)
    whole = greedy(load_generator(llama_folder, max_batch_size=1, step_tokens=4096), every, 20)
    chunked = load_generator(llama_folder, max_batch_size=batch, step_tokens=step_tokens)
    assert greedy(chunked, every, 20) == whole


def test_sharded_bfloat16_checkpoint(tmp_path: Path) -> None:
    folder = build_folder(tmp_path / "whole")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(folder / "shards", max_shard_size="40KB")
    assert len(list((folder / "shards").glob("*.safetensors"))) > 1
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "shards" / name).write_bytes((folder / name).read_bytes())
    prompt = prompts(320, 3, 40)[2]
    assert greedy(load_generator(folder / "shards"), [prompt], 24) == [reference(folder / "shards", prompt, 24)]


def test_generates_to_the_end_of_the_context(tmp_path: Path) -> None:
    folder = build_folder(tmp_path, max_position_embeddings=40)
    prompt = prompts(320, 2, 30)[1]
    room = 40 - len(prompt)
    assert greedy(load_generator(folder), [prompt], room) == [reference(folder, prompt, room)]


@pytest.mark.skipif(not DEMO.exists(), reason="the bundled demo model is not trained yet")
def test_bundled_demo_equals_transformers() -> None:
    every = prompts(4096, 9, 80)
    expected = [reference(DEMO, prompt, 40) for prompt in every]
    runtime = load_generator(DEMO)
    assert greedy(runtime, every[3:4], 40) == expected[3:4]
    assert greedy(runtime, every, 40) == expected
