"""The Llama family in numbers: what ``config.json`` says about a model, checked, for the lean forwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jupyter_streaminfer.inference.checkpoint import Config, UnsupportedError, refuse
from jupyter_streaminfer.inference.rope import Rope

FAMILY = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
MAX_PARAMETERS = 2**36


@dataclass(frozen=True)
class Architecture:
    """Llama, Mistral, Qwen2 or Qwen3: they differ in a bias, a norm and their defaults."""

    name: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    epsilon: float
    tied: bool
    """Whether the head is the embedding."""
    qkv_bias: bool
    qk_norm: bool
    """Whether each head of queries and keys is normed before its rotation."""
    inverse_frequencies: tuple[float, ...]
    """``[head_dim / 2]``, radians a position."""
    rope_scale: float
    """Multiplies cosine and sine."""

    @classmethod
    def read(cls, values: dict[str, Any], context_length: int | None = None) -> Architecture:
        """Check ``config.json``, to be served with a context of ``context_length`` where that is shorter.

        Raises `UnsupportedError` naming the variant that the lean forwards do not compute, and `StreaminferError`
        naming the field that is not what it may be.
        """
        config = Config(values)
        name = config.architecture()
        if name not in FAMILY:
            raise UnsupportedError(
                f"config.json: architecture {name!r:.80} is not supported, expected {', '.join(FAMILY[:-1])}"
                f" or {FAMILY[-1]}"
            )
        config.require("hidden_act", "silu", "silu")
        config.require("quantization_config", None, None)
        if name in ("LlamaForCausalLM", "Qwen3ForCausalLM"):
            config.require("attention_bias", False, False)
        if name == "LlamaForCausalLM":
            config.require("mlp_bias", False, False)
        hidden = config.integer("hidden_size", 1, 2**16)
        heads = config.integer("num_attention_heads", 1, 2**10)
        if name != "Qwen3ForCausalLM" and values.get("head_dim") is None and hidden % heads:
            raise refuse(f"config.json: hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
        kv_heads = config.integer("num_key_value_heads", 1, heads, heads if name == "LlamaForCausalLM" else None)
        if heads % kv_heads:
            raise refuse(
                f"config.json: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"
            )
        head_dim = config.integer("head_dim", 2, 2**10, 128 if name == "Qwen3ForCausalLM" else hidden // heads)
        if head_dim % 2:
            raise refuse(f"config.json: head_dim must be even, found {head_dim}")
        trained = config.integer("max_position_embeddings", 1, 2**21)
        rope = Rope(values, head_dim, trained)
        found = cls(
            name=name,
            vocabulary=config.integer("vocab_size", 1, 2**20),
            hidden=hidden,
            intermediate=config.integer("intermediate_size", 1, 2**18),
            layers=config.integer("num_hidden_layers", 1, 2**9),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            context_length=trained if context_length is None else min(trained, context_length),
            epsilon=config.number("rms_norm_eps", 0.0, 1.0, 1e-6),
            tied=config.flag("tie_word_embeddings", False),
            qkv_bias=name == "Qwen2ForCausalLM",
            qk_norm=name == "Qwen3ForCausalLM",
            inverse_frequencies=rope.inverse_frequencies,
            rope_scale=rope.scale,
        )
        window = _window(config, found)
        if window is not None and window < found.context_length:
            raise UnsupportedError(
                f"config.json: a sliding window of {window} within a context of {found.context_length} is not supported"
            )
        if found.parameters > MAX_PARAMETERS:
            raise refuse(f"config.json describes {found.parameters} parameters, expected at most {MAX_PARAMETERS}")
        return found

    @property
    def qkv_rows(self) -> int:
        """Outputs of the query, key and value projections together."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def parameters(self) -> int:
        """How many numbers the weights hold; tied ones once."""
        attention = (self.qkv_rows + self.heads * self.head_dim) * self.hidden
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        layer += self.qkv_rows * self.qkv_bias + 2 * self.head_dim * self.qk_norm
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * layer + embeddings + self.hidden


def _window(config: Config, found: Architecture) -> int | None:
    """How many positions a token sees, itself among them, in the layers that see least; None: all."""
    if found.name == "LlamaForCausalLM":
        return None
    if found.name != "MistralForCausalLM":
        from_layer = config.integer("max_window_layers", 0, 2**20, 28)
        kinds = config.values.get("layer_types")
        if kinds is None:
            kinds = ["sliding_attention"] if from_layer < found.layers else []
        if not isinstance(kinds, list):
            raise refuse(f"config.json: layer_types must be a list, found {kinds!r:.80}")
        if "sliding_attention" not in kinds or not config.flag("use_sliding_window", False):
            return None
    if config.values.get("sliding_window", 4096) is None:
        return None
    return config.integer("sliding_window", 1, 2**31, 4096)
