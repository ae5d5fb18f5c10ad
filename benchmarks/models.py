"""The models that everyone is measured on: Llama, random weights from a seed, in a folder as Hugging Face has it.

``python benchmarks/models.py S M --cache FOLDER`` makes them; `generate.py` makes what is missing by itself.
Every token's text is a space and its id, so that a client knows the tokens of a text. None of them ends an
answer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

VOCABULARY = 4096
CONTEXT = 2048
HEAD_DIM = 64
SEED = 0
CACHE = Path(tempfile.gettempdir()) / "streaminfer-benchmarks"
STORED = {"float32": "float32", "bfloat16": "bfloat16", "int8": "float32"}
"""What the weights are stored in for a subject that is to keep them so; int8 is made from float32 at load."""


@dataclass(frozen=True)
class Shape:
    """The size of a model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    tied: bool

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token in float32."""
        return self.layers * 2 * self.kv_heads * HEAD_DIM * 4


SHAPES = {
    "tiny": Shape(hidden=128, layers=2, heads=2, kv_heads=1, intermediate=256, tied=True),
    "S": Shape(hidden=384, layers=6, heads=6, kv_heads=2, intermediate=1024, tied=True),
    "M": Shape(hidden=768, layers=16, heads=12, kv_heads=4, intermediate=2304, tied=False),
}


def folder(name: str, stored: str, cache: Path = CACHE) -> Path:
    """The model's folder with its weights in ``float32`` or ``bfloat16``, made if it is not there."""
    path = cache / f"{name}-{stored}"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=cache))
        try:
            _write(draft, SHAPES[name], stored)
            draft.rename(path)
        except BaseException:
            shutil.rmtree(draft)
            raise
    return path


def _write(draft: Path, shape: Shape, stored: str) -> None:
    from safetensors.torch import save_file

    save_file(_tensors(shape, stored), draft / "model.safetensors", metadata={"format": "pt"})
    for file, values in {
        "config.json": _config(shape, stored),
        "generation_config.json": {"bos_token_id": None, "eos_token_id": None},
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT},
    }.items():
        (draft / file).write_text(json.dumps(values, indent=1) + "\n")


def _tensors(shape: Shape, stored: str) -> dict:  # type: ignore[type-arg]
    """Layers that say more than the embeddings they are added to, so that an answer does not repeat one token.

    The same numbers, rounded, in either type.
    """
    import torch

    generator = torch.Generator().manual_seed(SEED)

    def matrix(rows: int, columns: int, deviation: float = 0.0) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) * (deviation or columns**-0.5)

    def norm() -> torch.Tensor:
        return 1 + torch.randn(shape.hidden, generator=generator) * 0.1

    tensors = {"model.embed_tokens.weight": matrix(VOCABULARY, shape.hidden, 0.02), "model.norm.weight": norm()}
    if not shape.tied:
        tensors["lm_head.weight"] = matrix(VOCABULARY, shape.hidden, 0.02)
    for index in range(shape.layers):
        layer = f"model.layers.{index}."
        tensors |= {
            f"{layer}input_layernorm.weight": norm(),
            f"{layer}post_attention_layernorm.weight": norm(),
            f"{layer}self_attn.q_proj.weight": matrix(shape.heads * HEAD_DIM, shape.hidden),
            f"{layer}self_attn.k_proj.weight": matrix(shape.kv_heads * HEAD_DIM, shape.hidden),
            f"{layer}self_attn.v_proj.weight": matrix(shape.kv_heads * HEAD_DIM, shape.hidden),
            f"{layer}self_attn.o_proj.weight": matrix(shape.hidden, shape.heads * HEAD_DIM),
            f"{layer}mlp.gate_proj.weight": matrix(shape.intermediate, shape.hidden),
            f"{layer}mlp.up_proj.weight": matrix(shape.intermediate, shape.hidden),
            f"{layer}mlp.down_proj.weight": matrix(shape.hidden, shape.intermediate),
        }
    return {name: tensor.to(getattr(torch, stored)) for name, tensor in tensors.items()}


def _config(shape: Shape, stored: str) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": stored,
        "vocab_size": VOCABULARY,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": shape.tied,
        "initializer_range": 0.02,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def _tokenizer() -> dict[str, object]:
    """A byte-level BPE without merges: `` 17`` is token 17."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {f"Ġ{token}": token for token in range(VOCABULARY)},
            "merges": [],
        },
    }


def token_ids(text: str) -> list[int]:
    """The tokens of a text that one of these models wrote."""
    return [int(word) for word in text.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", choices=SHAPES)
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--cache", type=Path, default=CACHE)
    options = parser.parse_args()
    for name in options.models:
        for stored in options.dtypes:
            print(folder(name, stored, options.cache))


if __name__ == "__main__":
    main()
