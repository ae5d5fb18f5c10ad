"""Greedy answers and log-probabilities equal transformers' in float32, whatever the scheduler makes of the batch."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

import jupyter_streaminfer
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.native_library import library

from .conftest import FORWARDS, Outcome, build_folder, collect, drain, generate_job, load_generator, small
from .reference import Reference

DEMO = Path(jupyter_streaminfer.__file__).parent / "models" / "demo"
GENERAL = "transformers"
LEAN = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
FAMILIES = {
    f"{name}-{forward}": (forward, small(kind, head_dim=head_dim))
    for name, kind in LEAN.items()
    for forward, head_dim in FORWARDS.items()
} | {
    f"{name}-{GENERAL}": (GENERAL, config)
    for name, config in {
        "gpt_neox": small(GPTNeoXConfig),
        "gpt2": small(GPT2Config),
        "opt": small(OPTConfig, ffn_dim=80, word_embed_proj_dim=48),
        "phi": small(PhiConfig),
        "gemma2": small(
            Gemma2Config, sliding_window=24, layer_types=["sliding_attention", "full_attention"], initializer_range=0.1
        ),
    }.items()
}
COUNT = 10


def crowd(count: int, vocabulary: int = 320) -> list[list[int]]:
    """Prompts of 1 to 90 tokens; every other one begins like others."""
    draw = random.Random(3)
    heads = [[draw.randrange(3, vocabulary) for _ in range(50)] for _ in range(4)]
    prompts = []
    for index in range(count):
        head = draw.choice(heads)[: draw.randint(16, 50)] if index % 2 else []
        prompts.append(head + [draw.randrange(3, vocabulary) for _ in range(draw.randint(1, 40))])
    return prompts


def arrive(runtime: Generator, prompts: list[list[int]], count: int) -> dict[str, Outcome]:
    """Greedy answers to prompts that arrive a few at a time, faster than they are answered."""
    draw = random.Random(5)
    outcomes: dict[str, Outcome] = {}
    for index, prompt in enumerate(prompts):
        runtime.submit(
            generate_job(str(index), prompt, max_tokens=count, temperature=0, ignore_eos=True, logprobs=index % 3)
        )
        for _ in range(draw.choice([0, 0, 1, 3])):
            collect(runtime.step(), outcomes)
    drain(runtime, outcomes)
    runtime.check_idle()
    return outcomes


@pytest.mark.parametrize(("forward", "config"), FAMILIES.values(), ids=FAMILIES.keys())
def test_greedy_and_logprobs_equal_transformers(tmp_path: Path, forward: str, config: PreTrainedConfig) -> None:
    """In mixed batches with arrivals, prompts in chunks, shared prefixes, and a cache too small for all that run."""
    folder = build_folder(tmp_path, config)
    runtime = load_generator(folder, blocks=18, max_batch_size=8, step_tokens=24)
    if library() is not None or forward == GENERAL:
        assert runtime.info.runner.startswith(forward)
    prompts = crowd(200)
    outcomes = arrive(runtime, prompts, COUNT)
    stats = runtime.stats()
    assert stats.preemptions > 0
    assert stats.prefix_hits > 0
    answers = [outcomes[str(index)].token_ids for index in range(len(prompts))]
    assert {len(answer) for answer in answers} == {COUNT}
    rows = Reference(folder).assert_greedy(prompts, answers)
    for index, expected in enumerate(torch.stack(rows).log_softmax(-1)):
        told = outcomes[str(index)].logprobs
        own = expected.gather(1, torch.tensor(answers[index])[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor([one.logprob for one in told]), own, atol=1e-4, rtol=0)
        top = torch.tensor([[other.logprob for other in one.top] for one in told])
        torch.testing.assert_close(top, expected.topk(index % 3).values, atol=1e-4, rtol=0)
        for position, one in enumerate(told):
            for other in one.top:
                assert other.logprob == pytest.approx(float(expected[position, other.token_id]), abs=1e-4)


def greedy(runtime: Generator, prompts: list[list[int]], count: int) -> list[list[int]]:
    for index, prompt in enumerate(prompts):
        runtime.submit(generate_job(str(index), prompt, max_tokens=count, temperature=0, ignore_eos=True))
    outcomes = drain(runtime)
    runtime.check_idle()
    return [outcomes[str(index)].token_ids for index in range(len(prompts))]


@pytest.mark.parametrize(("step_tokens", "batch"), [(1, 1), (3, 2), (7, 3), (64, 9)])
def test_chunked_prefill_equals_whole(either_folder: Path, step_tokens: int, batch: int) -> None:
    prompts = crowd(9)
    whole = greedy(load_generator(either_folder, max_batch_size=1, step_tokens=4096), prompts, 20)
    assert greedy(load_generator(either_folder, max_batch_size=batch, step_tokens=step_tokens), prompts, 20) == whole


@pytest.mark.parametrize("head_dim", FORWARDS.values(), ids=FORWARDS.keys())
def test_a_sharded_bfloat16_checkpoint(tmp_path: Path, head_dim: int) -> None:
    """Its weights are rounded already, and nothing else is."""
    folder = build_folder(tmp_path / "whole", head_dim=head_dim)
    shards = tmp_path / "shards"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(shards, max_shard_size="40KB")
    assert len(list(shards.glob("*.safetensors"))) > 1
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, shards / name)
    prompts = crowd(4)
    Reference(shards).assert_greedy(prompts, greedy(load_generator(shards), prompts, 24))


@pytest.mark.parametrize("head_dim", FORWARDS.values(), ids=FORWARDS.keys())
def test_generates_to_the_end_of_the_context(tmp_path: Path, head_dim: int) -> None:
    folder = build_folder(tmp_path, head_dim=head_dim, max_position_embeddings=40)
    prompts = [crowd(1)[0][:count] for count in (1, 7, 39)]
    runtime = load_generator(folder)
    answers = [greedy(runtime, [prompt], 40 - len(prompt))[0] for prompt in prompts]
    Reference(folder).assert_greedy(prompts, answers)


@pytest.mark.skipif(not DEMO.exists(), reason="the bundled demo model is not trained yet")
def test_the_bundled_demo_as_loaded_by_default() -> None:
    """Token for token what transformers' own generate makes of it in float32, alone and with eight others."""
    prompts = crowd(9, 4096)
    model = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32)
    given = torch.tensor([prompts[3]])
    made = model.generate(
        given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=40, eos_token_id=None
    )
    runtime = load_generator(DEMO)
    alone = greedy(runtime, prompts[3:4], 40)
    assert alone == [made[0, len(prompts[3]) :].tolist()]
    together = greedy(runtime, prompts, 40)
    assert together[3] == alone[0]
    Reference(DEMO).assert_greedy(prompts, together)
