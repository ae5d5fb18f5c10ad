"""One of the measured models as llama.cpp reads it. Needs numpy and ``gguf``, and nothing else: not torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gguf  # type: ignore[import-not-found]
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

TYPES = {
    "float32": gguf.GGMLQuantizationType.F32,
    "bfloat16": gguf.GGMLQuantizationType.BF16,
    "int8": gguf.GGMLQuantizationType.Q8_0,
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_file(folder: Path, dtype: str) -> Path:
    """The model of a Hugging Face folder, written beside its weights once; matrices in the type of ``dtype``."""
    path = folder / f"{dtype}.gguf"
    if not path.exists():
        draft = path.with_suffix(".draft")
        _write(folder, draft, TYPES[dtype])
        draft.rename(path)
    return path


def _write(folder: Path, draft: Path, kind: gguf.GGMLQuantizationType) -> None:
    config = json.loads((folder / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(draft, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    for name, value in _tensors(folder / "model.safetensors"):
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            value = _neighbours(value, heads if "q_proj" in name else kv_heads)
        if value.ndim == 1:
            writer.add_tensor(_name(name), value)
        else:
            writer.add_tensor(_name(name), gguf.quants.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(path: Path) -> Iterator[tuple[str, Float32]]:
    """All tensors of a safetensors file, float32 or bfloat16, as float32."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        for name, about in header.items():
            if name == "__metadata__":
                continue
            begin, end = about["data_offsets"]
            file.seek(start + begin)
            data = file.read(end - begin)
            if about["dtype"] == "BF16":
                flat = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                flat = np.frombuffer(data, np.float32)
            yield name, flat.reshape(about["shape"])


def _neighbours(value: Float32, heads: int) -> Float32:
    """Rows of a query or key projection as llama.cpp has them: a rotary pair side by side, not half a head apart."""
    rows, columns = value.shape
    halves = value.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def _name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{NAMES[stem]}.weight"
    _, _, index, rest = stem.split(".", 3)
    return f"blk.{index}.{NAMES[rest]}.weight"
