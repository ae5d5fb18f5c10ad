"""A model folder opened by ``transformers``, which is optional: nothing is fetched, executed or unpickled."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from jupyter_streaminfer.inference.checkpoint import Config, read_json, refuse, require_finite

FULL, SLIDING = "full_attention", "sliding_attention"


def library() -> Any:
    """The package ``transformers``, or `StreaminferError` saying how to get it."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise refuse(
            f"only the package transformers computes this model, and it cannot be imported ({error}):"
            " install it with pip install transformers"
        ) from error


def open_model(folder: Path, dtype: str) -> Any:
    """The folder's causal language model on the CPU, computing attention by its own eager code.

    Raises `StreaminferError` when it is quantised or an adapter, needs code of its own, when ``transformers`` cannot
    load it, or when a tensor is missing, misshapen or not finite.
    """
    values = read_json(folder / "config.json")
    if values.get("quantization_config") is not None:
        raise refuse("config.json: quantization_config is not supported, expected float32, bfloat16 or float16 weights")
    if (folder / "adapter_config.json").exists():
        raise refuse("adapter_config.json: adapters are not supported, expected a whole model")
    transformers = library()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        sizes = Config({name: getattr(text_config(config), name, None) for name in ("vocab_size", "num_hidden_layers")})
        sizes.integer("vocab_size", 1, 2**20)
        sizes.integer("num_hidden_layers", 1, 2**9)
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            attn_implementation="eager",
            use_safetensors=True,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:  # whatever the model's own code raises
        raise refuse(f"transformers cannot load this model: {error}") from error
    if not getattr(model, "_supports_attention_backend", False):
        raise refuse(
            f"{type(model).__name__} cannot be run over blocks of keys and values: its tokens do not see each other"
            " through the attention registry of transformers, and nothing else can be replaced"
        )
    if report["missing_keys"]:
        raise refuse(f"tensor {min(report['missing_keys'])} is missing")
    for name, tensor in model.named_parameters():
        require_finite(name, tensor)
    return model


def text_config(config: Any) -> Any:
    """The part of a config that describes the language model."""
    return config.get_text_config()


def context_length(config: Any) -> int:
    """The positions for which a text config's model computes each token as it does in any company.

    RoPE of type longrope changes all rotations once one sequence of a batch outgrows the original context.
    """
    found = Config({"max_position_embeddings": getattr(config, "max_position_embeddings", None)})
    length = found.integer("max_position_embeddings", 1, 2**21)
    rope = getattr(config, "rope_parameters", None) or {}
    for part in (rope, *rope.values()):
        if isinstance(part, dict) and part.get("rope_type") == "longrope":
            length = min(length, Config(part).integer("original_max_position_embeddings", 1, 2**21, length))
    return length


def windows(config: Any, context: int) -> list[int | None]:
    """How many positions a token sees in each layer of a text config's model, itself among them; None: all.

    Raises `StreaminferError` for layers that see by another rule.
    """
    window = getattr(config, "sliding_window", None)
    if window is not None and window >= context:
        window = None
    kinds = getattr(config, "layer_types", None) or [FULL if window is None else SLIDING] * config.num_hidden_layers
    others = set(kinds) - {FULL, SLIDING}
    if others:
        raise refuse(f"config.json: layers of type {min(others)!r:.80} are not supported, expected {FULL} or {SLIDING}")
    return [window if kind == SLIDING else None for kind in kinds]
