"""The general path against transformers' own generate, family by family, in mixed batches over scattered blocks."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import build_causal
from transformers import AutoModelForCausalLM, PreTrainedConfig

from jupyter_streaminfer.inference.batch import build_batch
from jupyter_streaminfer.inference.scheduler import Chunk
from jupyter_streaminfer.inference.transformers_model import TransformersModel
from jupyter_streaminfer.protocol import StreaminferError

from .by_hand import ByHand, assert_equal, prompts, reference

VOCABULARY = 160
PROMPTS = prompts(VOCABULARY, 5, 70)
COUNT = 8


def config(kind: str, **changes: Any) -> PreTrainedConfig:
    """A small config; ``attribute_map`` gives the names that a family has for the common fields."""
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return getattr(transformers, kind)(**(fields | changes))


GEMMA = {"head_dim": 16, "hidden_activation": "gelu_pytorch_tanh"}
SLIDING = ["sliding_attention", "sliding_attention", "full_attention"]
FAMILIES = {
    "gpt2": config("GPT2Config"),
    "gpt2 with layer scales": config("GPT2Config", scale_attn_by_inverse_layer_idx=True),
    "gemma": config("GemmaConfig", **GEMMA),
    "gemma2": config("Gemma2Config", sliding_window=24, layer_types=SLIDING, query_pre_attn_scalar=20, **GEMMA),
    "gemma3": config("Gemma3TextConfig", sliding_window=24, layer_types=SLIDING, query_pre_attn_scalar=20, **GEMMA),
    "phi": config("PhiConfig"),
    "phi3": config("Phi3Config"),
    "opt": config("OPTConfig", ffn_dim=80, word_embed_proj_dim=32),
    "gpt-neox": config("GPTNeoXConfig"),
    "gpt-neox in sequence": config("GPTNeoXConfig", use_parallel_residual=False),
    "cohere": config("CohereConfig", logit_scale=0.5),
    "mistral in a window": config("MistralConfig", sliding_window=20),
    "qwen2 in windows": config("Qwen2Config", use_sliding_window=True, sliding_window=20, max_window_layers=1),
    "llama with dynamic rope": config(
        "LlamaConfig", rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    ),
    "llama with biases": config("LlamaConfig", attention_bias=True, mlp_bias=True),
    "experts": config("MixtralConfig", num_local_experts=4, sliding_window=None),
}


def load(folder: Path, dtype: str = "float32") -> TransformersModel:
    return TransformersModel(folder, dtype=dtype, device=torch.device("cpu"), reason="a test")


def refusal(folder: Path) -> str:
    with pytest.raises(StreaminferError) as caught:
        load(folder)
    assert caught.value.info.code == "invalid_request"
    return caught.value.info.message


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_equals_transformers(tmp_path: Path, family: PreTrainedConfig) -> None:
    model = load(build_causal(tmp_path, family))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager")
    expected = [reference(plain, prompt, COUNT) for prompt in PROMPTS]
    assert_equal(ByHand(model).greedy(PROMPTS, COUNT), expected)
    assert model.parameters == plain.num_parameters()


def test_hidden_states_are_the_last_after_the_norm(tmp_path: Path) -> None:
    model = load(build_causal(tmp_path, FAMILIES["gpt-neox"]))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    hand = ByHand(model)
    sequence = hand.start(PROMPTS[3], 1)
    sequence.reads_from = 0
    states = model.hidden(build_batch([Chunk(sequence, sequence.pending)]))
    with torch.no_grad():
        expected = plain.base_model(torch.tensor([PROMPTS[3]])).last_hidden_state[0]
    assert states.shape == (len(PROMPTS[3]), model.hidden_size)
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)


def test_bfloat16_stays_near_float32(tmp_path: Path) -> None:
    folder = build_causal(tmp_path, FAMILIES["gemma3"], dtype="bfloat16")
    exact, rounded = load(folder), load(folder, "bfloat16")
    assert rounded.token_bytes * 2 == exact.token_bytes
    assert rounded.weight_bytes * 2 == exact.weight_bytes
    one, other = (torch.stack([a.logits[0] for a in ByHand(model).greedy(PROMPTS, 1)]) for model in (exact, rounded))
    assert (one - other).abs().max() < 0.2 * one.std()


def test_two_models_on_two_threads(tmp_path: Path) -> None:
    folders = [build_causal(tmp_path / name, FAMILIES[name]) for name in ("gpt2", "phi")]
    models = [load(folder) for folder in folders]
    alone = [ByHand(model).greedy(PROMPTS, COUNT) for model in models]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda model: ByHand(model).greedy(PROMPTS, COUNT), models))
    for one, other in zip(together, alone, strict=True):
        assert_equal(one, other)


def test_longrope_is_served_within_its_original_context(tmp_path: Path) -> None:
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 6, "long_factor": [4.0] * 6, "rope_theta": 10000.0}
    changes = {"original_max_position_embeddings": 64, "max_position_embeddings": 256}
    model = load(build_causal(tmp_path, config("Phi3Config", rope_parameters=rope, **changes)))
    assert model.context_length == 64


OTHERS = {
    "state spaces": (config("MambaConfig", state_size=4, time_step_rank=3), "registry"),
    "alibi": (config("BloomConfig", n_head=4), "registry"),
    "attention of its own": (config("GPTNeoConfig", attention_types=[[["global"], 3]]), "registry"),
    "sinks": (config("GptOssConfig", num_local_experts=4, head_dim=16, sliding_window=128), "deviations off"),
    "both directions": (
        config("Gemma3TextConfig", use_bidirectional_attention=True, layer_types=["full_attention"] * 3, **GEMMA),
        "deviations off",
    ),
    "chunked attention": (
        config("Llama4TextConfig", num_local_experts=2, attention_chunk_size=8, head_dim=16, intermediate_size_mlp=80),
        "chunked_attention",
    ),
}


@pytest.mark.parametrize(("family", "reason"), OTHERS.values(), ids=OTHERS.keys())
def test_refuses_what_it_would_not_compute_right(tmp_path: Path, family: PreTrainedConfig, reason: str) -> None:
    assert re.search(reason, refusal(build_causal(tmp_path, family)))


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_refuses_a_folder_that_cannot_be_loaded(tmp_path: Path) -> None:
    folder = build_causal(tmp_path, FAMILIES["phi"])
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.fc1.weight"
    original = tensors[name]

    tensors[name] = original.clone()
    tensors[name][3, 4] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert f"tensor {name} holds NaN" in refusal(folder)

    del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert f"tensor {name} is missing" in refusal(folder)

    tensors[name] = original[:, 1:].contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert "transformers cannot load" in refusal(folder)

    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "safetensors" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "nonsense"}, "cannot load"),
        ({"model_type": "nonsense", "auto_map": {"AutoConfig": "code.Config"}}, "cannot load"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
    ],
)
def test_refuses_a_config(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    folder = build_causal(tmp_path, FAMILIES["phi"])
    (folder / "code.py").write_text("raise SystemExit('it was executed')")
    edit(folder, **changes)
    assert reason in refusal(folder)


def test_refuses_an_adapter(tmp_path: Path) -> None:
    folder = build_causal(tmp_path, FAMILIES["phi"])
    (folder / "adapter_config.json").write_text("{}")
    assert "adapter" in refusal(folder)


def test_says_that_the_optional_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_causal(tmp_path, FAMILIES["phi"])
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install transformers" in refusal(folder)
