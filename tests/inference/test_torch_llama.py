"""The lean torch forward against transformers: logits and greedy tokens, in mixed batches over scattered blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import build_causal
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

import jupyter_streaminfer
from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.batch import build_batch
from jupyter_streaminfer.inference.checkpoint import read_json
from jupyter_streaminfer.inference.scheduler import Chunk
from jupyter_streaminfer.inference.torch_llama import TorchLlama

from .by_hand import Answer, ByHand, assert_equal, prompts, reference

DEMO = Path(jupyter_streaminfer.__file__).parent / "models" / "demo"
VOCABULARY = 160
PROMPTS = prompts(VOCABULARY, 5, 70)
COUNT = 8


def config(kind: type[PreTrainedConfig] = LlamaConfig, **changes: Any) -> PreTrainedConfig:
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
    }
    return kind(**(fields | changes))


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}
VARIANTS = {
    "llama": config(),
    "tied": config(tie_word_embeddings=True),
    "one key head": config(num_key_value_heads=1),
    "as many key heads": config(num_key_value_heads=4, rms_norm_eps=1e-2),
    "explicit head_dim": config(head_dim=20),
    "another rotary base": config(rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
    "linear": config(rope_parameters={"rope_type": "linear", "factor": 3.0, "rope_theta": 10000.0}),
    "llama3": config(
        rope_parameters={**LLAMA3, "original_max_position_embeddings": 32, "rope_theta": 10000.0},
    ),
    "yarn": config(rope_parameters=YARN),
    "mistral": config(MistralConfig, sliding_window=128),
    "qwen2": config(Qwen2Config, tie_word_embeddings=True),
    "qwen3": config(Qwen3Config, head_dim=16),
}


def load(folder: Path, dtype: str = "float32") -> TorchLlama:
    size = Architecture.read(read_json(folder / "config.json"))
    return TorchLlama(folder, size, dtype=dtype, device=torch.device("cpu"), reason="a test")


def expected(folder: Path) -> list[Answer]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return [reference(model, prompt, COUNT) for prompt in PROMPTS]


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_equals_transformers(tmp_path: Path, variant: PreTrainedConfig) -> None:
    model = load(build_causal(tmp_path, variant))
    assert_equal(ByHand(model).greedy(PROMPTS, COUNT), expected(tmp_path))
    assert model.parameters == AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters()
    assert model.token_bytes == sum(layer[0, 0].nbytes for layer in model.storage.layers)


def test_chunks_of_any_size_give_the_same_logits(tmp_path: Path) -> None:
    model = load(build_causal(tmp_path, VARIANTS["qwen3"]))
    alone = ByHand(model).greedy(PROMPTS, COUNT, largest=100, company=1)
    for largest, company in ((1, 3), (7, 2), (100, 6)):
        assert_equal(ByHand(model, seed=largest).greedy(PROMPTS, COUNT, largest=largest, company=company), alone)


def test_runs_to_the_end_of_the_context(tmp_path: Path) -> None:
    model = load(build_causal(tmp_path, VARIANTS["yarn"]))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    room = model.context_length - len(PROMPTS[-1])
    assert_equal(ByHand(model).greedy(PROMPTS[-1:], room), [reference(plain, PROMPTS[-1], room)])


def test_hidden_states_are_the_last_after_the_norm(tmp_path: Path) -> None:
    model = load(build_causal(tmp_path, VARIANTS["llama"]))
    sequence = ByHand(model).start(PROMPTS[3], 1)
    sequence.reads_from = 0
    states = model.hidden(build_batch([Chunk(sequence, sequence.pending)]))
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(tmp_path).model(torch.tensor([PROMPTS[3]])).last_hidden_state
    torch.testing.assert_close(states, expected[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_bfloat16_stays_near_float32(tmp_path: Path, name: str) -> None:
    folder = build_causal(tmp_path, VARIANTS[name], dtype="bfloat16")
    exact, rounded = load(folder), load(folder, "bfloat16")
    assert rounded.token_bytes * 2 == exact.token_bytes
    assert rounded.weight_bytes * 2 == exact.weight_bytes
    one, other = (torch.stack([a.logits[0] for a in ByHand(model).greedy(PROMPTS, 1)]) for model in (exact, rounded))
    assert (one - other).abs().max() < 0.2 * one.std()


def test_cleared_blocks_forget_a_broken_sequence(tmp_path: Path) -> None:
    model = load(build_causal(tmp_path, VARIANTS["llama"]))
    hand = ByHand(model, blocks=2)
    answer = hand.greedy(PROMPTS[1:2], 4)
    for layer in model.storage.layers:
        layer.fill_(torch.nan)
    model.clear([0, 1])
    assert_equal(hand.greedy(PROMPTS[1:2], 4), answer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_equals_transformers_on_the_gpu(tmp_path: Path, name: str) -> None:
    size = Architecture.read(read_json(build_causal(tmp_path, VARIANTS[name]) / "config.json"))
    model = TorchLlama(tmp_path, size, dtype="float32", device=torch.device("cuda"), reason="a test")
    assert_equal(ByHand(model).greedy(PROMPTS, COUNT), expected(tmp_path), tolerance=1e-3)


@pytest.mark.skipif(not DEMO.exists(), reason="the bundled demo model is not trained yet")
def test_bundled_demo_equals_transformers() -> None:
    model = load(DEMO)
    plain = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32)
    several = prompts(model.vocabulary, 4, 60)
    assert_equal(ByHand(model).greedy(several, COUNT), [reference(plain, prompt, COUNT) for prompt in several])
