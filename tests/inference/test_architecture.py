"""What is read from ``config.json``, and what is refused or left to the general path."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.checkpoint import UnsupportedError
from jupyter_streaminfer.protocol import StreaminferError

BASE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 160,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
FAMILIES = ["Llama", "Mistral", "Qwen2", "Qwen3"]
QWEN_WINDOW = {"use_sliding_window": True, "sliding_window": 64}


def values(family: str = "Llama", **changes: Any) -> dict[str, Any]:
    """A config as it is in a file; ``...`` leaves a field out."""
    own = {"sliding_window": None} if family == "Mistral" else {}
    found = BASE | own | {"architectures": [f"{family}ForCausalLM"]} | changes
    return {name: value for name, value in found.items() if value is not ...}


def rotary(**rope: Any) -> Any:
    """The rotary embedding that transformers makes of it."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    fields = {name: value for name, value in BASE.items() if name != "architectures"}
    return LlamaRotaryEmbedding(transformers.LlamaConfig(**fields, rope_parameters=rope))


@pytest.mark.parametrize("family", FAMILIES)
def test_reads_each_family(family: str) -> None:
    config = values(family)
    model = getattr(transformers, f"{family}ForCausalLM")(
        getattr(transformers, f"{family}Config")(**{k: v for k, v in config.items() if k != "architectures"})
    )
    size = Architecture.read(config)
    assert size.parameters == model.num_parameters()
    assert (size.qkv_bias, size.qk_norm) == (family == "Qwen2", family == "Qwen3")
    assert size.head_dim == model.model.layers[0].self_attn.head_dim == 2 * len(size.inverse_frequencies)
    assert size.inverse_frequencies == tuple(model.model.rotary_emb.inv_freq.tolist())


ROPES = [
    {"rope_type": "default", "rope_theta": 500000.0},
    {"rope_type": "linear", "factor": 3.0, "rope_theta": 10000.0},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_theta": 10000.0,
    },
    {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 64},
    {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "attention_factor": 0.9, "truncate": False},
    {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6, "mscale": 0.7, "mscale_all_dim": 1.2, "beta_fast": 20},
]


@pytest.mark.parametrize("rope", ROPES, ids=lambda rope: rope["rope_type"])
def test_frequencies_equal_transformers(rope: dict[str, Any]) -> None:
    expected = rotary(**rope)
    theta = rope["rope_theta"]
    older = {("type" if name == "rope_type" else name): value for name, value in rope.items() if name != "rope_theta"}
    for spelled in ({"rope_parameters": rope}, {"rope_theta": theta, "rope_scaling": older}):
        size = Architecture.read(values(**spelled))
        assert size.inverse_frequencies == tuple(expected.inv_freq.tolist())
        assert size.rope_scale == expected.attention_scaling


@given(
    factor=st.floats(1.0, 64.0),
    original=st.integers(8, 256),
    theta=st.floats(100.0, 1e7),
    low=st.floats(0.5, 2.0),
    span=st.floats(0.5, 8.0),
)
def test_llama3_frequencies_equal_transformers(
    factor: float, original: int, theta: float, low: float, span: float
) -> None:
    rope = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": low + span,
        "original_max_position_embeddings": original,
        "rope_theta": theta,
    }
    size = Architecture.read(values(rope_parameters=rope))
    assert size.inverse_frequencies == tuple(rotary(**rope).inv_freq.tolist())


@given(factor=st.floats(1.0, 64.0), original=st.integers(8, 256), theta=st.floats(100.0, 1e7))
def test_yarn_frequencies_equal_transformers(factor: float, original: int, theta: float) -> None:
    rope = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original, "rope_theta": theta}
    size = Architecture.read(values(rope_parameters=rope))
    assert size.inverse_frequencies == tuple(rotary(**rope).inv_freq.tolist())


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (values(architectures=["GPT2LMHeadModel"]), "'GPT2LMHeadModel' is not supported"),
        (values(hidden_act="gelu"), "hidden_act = 'gelu'"),
        (values(attention_bias=True), "attention_bias"),
        (values(mlp_bias=True), "mlp_bias"),
        (values("Qwen3", attention_bias=True), "attention_bias"),
        (values(quantization_config={"bits": 4}), "quantization_config"),
        (values(rope_scaling={"type": "dynamic", "factor": 2.0}), "RoPE of type 'dynamic'"),
        (values(rope_scaling={"rope_type": "longrope"}), "RoPE of type 'longrope'"),
        (values(rope_parameters={"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        (values(partial_rotary_factor=0.5), "partial_rotary_factor"),
        (values(rope_parameters={"full_attention": {"rope_type": "default"}}), "differs between layers"),
        (values("Mistral", sliding_window=64), "sliding window of 64"),
        (values("Mistral", sliding_window=..., max_position_embeddings=8192), "sliding window of 4096"),
        (values("Qwen2", max_window_layers=1, **QWEN_WINDOW), "sliding window of 64"),
        (values("Qwen3", layer_types=["full_attention", "sliding_attention"], **QWEN_WINDOW), "sliding window of 64"),
    ],
)
def test_leaves_variants_to_the_general_path(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        Architecture.read(config)


@pytest.mark.parametrize(
    "config",
    [
        values("Mistral", sliding_window=256),
        values(sliding_window=64),
        values("Qwen2", sliding_window=64),
        values("Qwen2", max_window_layers=2, **QWEN_WINDOW),
        values("Qwen3", layer_types=["full_attention"] * 2, **QWEN_WINDOW),
    ],
)
def test_a_window_that_does_not_apply_is_no_hindrance(config: dict[str, Any]) -> None:
    assert Architecture.read(config).context_length == 256


def test_a_window_applies_to_the_context_that_is_served() -> None:
    config = values("Mistral", sliding_window=64)
    assert Architecture.read(config, 64).context_length == 64
    with pytest.raises(UnsupportedError):
        Architecture.read(config, 65)
    assert Architecture.read(values(), 10**9).context_length == 256


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architectures": ["A", "B"]}, "a list of one name"),
        ({"hidden_size": 48.0}, "hidden_size must be a whole number"),
        ({"num_key_value_heads": 3}, "not a multiple of num_key_value_heads"),
        ({"num_attention_heads": 5, "num_key_value_heads": 5}, "not a multiple of num_attention_heads"),
        ({"head_dim": 7}, "head_dim must be even"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps must be"),
        ({"rope_theta": float("nan")}, "rope_theta must be"),
        ({"rope_scaling": 7}, "rope_scaling must be an object"),
        ({"rope_scaling": {"type": "linear"}}, "factor must be"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "factor must be"),
        (
            {"rope_scaling": {"type": "llama3", "factor": 2.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}},
            "must be greater than low_freq_factor",
        ),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}, "rope_theta": 1.0}, "rope_theta must be greater than 1"),
        (
            {"hidden_size": 2**16, "head_dim": 128, "intermediate_size": 2**18, "num_hidden_layers": 500},
            "parameters",
        ),
    ],
)
def test_refuses_by_name(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(StreaminferError, match=reason) as caught:
        Architecture.read(values(**changes))
    assert not isinstance(caught.value, UnsupportedError)
    assert caught.value.info.field == "path"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rope_type", "factor"]), inner),
    max_leaves=4,
)
FIELDS = [*BASE, "rope_scaling", "rope_parameters", "rope_theta", "head_dim", "layer_types", "sliding_window"]


@settings(max_examples=500)
@given(st.sampled_from(FAMILIES), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2))
def test_nothing_but_a_refusal_comes_of_rubbish(family: str, changes: dict[str, Any]) -> None:
    with suppress(StreaminferError):
        Architecture.read(values(family, use_sliding_window=True, **changes))
