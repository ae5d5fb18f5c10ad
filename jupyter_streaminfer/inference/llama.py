"""LlamaForCausalLM, straight from a Hugging Face folder, as a lean forward over a flat batch of tokens.

Weights are kept transposed (``[in, out]``), query, key and value fused, gate and up fused, and each norm's
weight folded into the projection after it. Rotary pairs are made neighbours, as in the original Llama, so that
RoPE is one complex multiplication in place; scores do not change when queries and keys are permuted alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import embedding, rms_norm, scaled_dot_product_attention, silu

from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.checkpoint import Checkpoint, Config, refuse
from jupyter_streaminfer.inference.kv_cache import KVCache

MAX_PARAMETERS = 2**36


@dataclass(frozen=True)
class LlamaConfig:
    """The numbers of ``config.json`` that the forward needs, checked."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    epsilon: float
    rope_theta: float
    tied: bool

    @classmethod
    def read(cls, values: dict[str, Any]) -> LlamaConfig:
        """Check ``config.json``; variants that the forward does not compute are refused by name."""
        config = Config(values)
        config.require("hidden_act", "silu", "silu")
        config.require("attention_bias", False, False)
        config.require("mlp_bias", False, False)
        hidden = config.integer("hidden_size", 1, 2**16)
        heads = config.integer("num_attention_heads", 1, 2**10)
        if values.get("head_dim") is None and hidden % heads:
            raise refuse(f"config.json: hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
        found = cls(
            vocabulary=config.integer("vocab_size", 1, 2**20),
            hidden=hidden,
            intermediate=config.integer("intermediate_size", 1, 2**18),
            layers=config.integer("num_hidden_layers", 1, 2**9),
            heads=heads,
            kv_heads=config.integer("num_key_value_heads", 1, heads, heads),
            head_dim=config.integer("head_dim", 2, 2**10, hidden // heads),
            context_length=config.integer("max_position_embeddings", 1, 2**21),
            epsilon=config.number("rms_norm_eps", 0.0, 1.0, 1e-6),
            rope_theta=_rope_theta(values),
            tied=config.flag("tie_word_embeddings", False),
        )
        if heads % found.kv_heads:
            raise refuse(
                f"config.json: num_attention_heads {heads} is not a multiple of num_key_value_heads {found.kv_heads}"
            )
        if found.head_dim % 2:
            raise refuse(f"config.json: head_dim must be even, found {found.head_dim}")
        if found.parameters > MAX_PARAMETERS:
            raise refuse(f"config.json describes {found.parameters} parameters, expected at most {MAX_PARAMETERS}")
        return found

    @property
    def parameters(self) -> int:
        """How many numbers the weights hold; tied ones once."""
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.head_dim
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * layer + embeddings + self.hidden


def _rope_theta(values: dict[str, Any]) -> float:
    """The rotary base, from ``rope_parameters`` or the older ``rope_theta`` and ``rope_scaling``."""
    rope = values.get("rope_parameters")
    if rope is None:
        scaling = values.get("rope_scaling") or {}
        if not isinstance(scaling, dict):
            raise refuse(f"config.json: rope_scaling must be an object, found {scaling!r:.80}")
        rope = {"rope_theta": values.get("rope_theta"), **scaling}
    if not isinstance(rope, dict):
        raise refuse(f"config.json: rope_parameters must be an object, found {rope!r:.80}")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default" or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise refuse(f"config.json: RoPE of type {kind!r:.80} is not supported, expected 'default' over the whole head")
    return Config(rope).number("rope_theta", 1.0, 1e12, 10000.0)


@dataclass(frozen=True, slots=True)
class Layer:
    """One block's weights, each ``[in, out]``."""

    qkv: torch.Tensor
    output: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class Llama:
    """The weights of one model and their forward; float32 throughout."""

    def __init__(self, folder: Path, config: LlamaConfig, device: torch.device) -> None:
        """Read ``folder``; raises `StreaminferError` naming the file or tensor that is missing or misshapen."""
        self.config = config
        self.device = device
        with Checkpoint(folder) as checkpoint:
            self.embedding = checkpoint.tensor("model.embed_tokens.weight", config.vocabulary, config.hidden).to(device)
            self.layers = [self._read_layer(checkpoint, f"model.layers.{i}.") for i in range(config.layers)]
            norm = checkpoint.tensor("model.norm.weight", config.hidden)
            head = self.embedding
            if not config.tied:
                head = checkpoint.tensor("lm_head.weight", config.vocabulary, config.hidden)
            self.head = self._transposed([head.cpu()], norm)
        frequencies = config.rope_theta ** -(torch.arange(0, config.head_dim, 2).float() / config.head_dim)
        angles = torch.arange(config.context_length).float()[:, None] * frequencies
        self.rotations = torch.polar(torch.ones_like(angles), angles).to(device)
        self.weight_bytes = sum(
            tensor.nbytes
            for tensor in (
                self.embedding,
                self.head,
                *(t for layer in self.layers for t in (layer.qkv, layer.output, layer.gate_up, layer.down)),
            )
        )

    def _read_layer(self, checkpoint: Checkpoint, prefix: str) -> Layer:
        config = self.config
        attention, key_value = config.heads * config.head_dim, config.kv_heads * config.head_dim
        query = checkpoint.tensor(prefix + "self_attn.q_proj.weight", attention, config.hidden)
        key = checkpoint.tensor(prefix + "self_attn.k_proj.weight", key_value, config.hidden)
        value = checkpoint.tensor(prefix + "self_attn.v_proj.weight", key_value, config.hidden)
        gate = checkpoint.tensor(prefix + "mlp.gate_proj.weight", config.intermediate, config.hidden)
        up = checkpoint.tensor(prefix + "mlp.up_proj.weight", config.intermediate, config.hidden)
        output = checkpoint.tensor(prefix + "self_attn.o_proj.weight", config.hidden, attention)
        down = checkpoint.tensor(prefix + "mlp.down_proj.weight", config.hidden, config.intermediate)
        before_attention = checkpoint.tensor(prefix + "input_layernorm.weight", config.hidden)
        before_mlp = checkpoint.tensor(prefix + "post_attention_layernorm.weight", config.hidden)
        return Layer(
            qkv=self._transposed([self._neighbours(query), self._neighbours(key), value], before_attention),
            output=self._transposed([output]),
            gate_up=self._transposed([gate, up], before_mlp),
            down=self._transposed([down]),
        )

    def _neighbours(self, weight: torch.Tensor) -> torch.Tensor:
        """Reorder a projection's rows so that the halves of each rotary pair, ``head_dim / 2`` apart, are adjacent."""
        halves = weight.view(-1, 2, self.config.head_dim // 2, self.config.hidden)
        return halves.transpose(1, 2).reshape(weight.shape)

    def _transposed(self, weights: list[torch.Tensor], norm: torch.Tensor | None = None) -> torch.Tensor:
        joined = torch.cat(weights)
        if norm is not None:
            joined = joined * norm
        return joined.t().contiguous().to(self.device)

    @torch.inference_mode()
    def forward(self, batch: Batch, cache: KVCache) -> torch.Tensor:
        """Compute a step and write its keys and values: the logits of its completing chunks, ``[C, vocabulary]``."""
        config = self.config
        shape = (config.hidden,)
        rotated = config.heads + config.kv_heads
        width = config.heads * config.head_dim
        hidden = embedding(batch.token_ids, self.embedding)
        rotations = self.rotations[batch.positions, None]
        for index, layer in enumerate(self.layers):
            qkv = rms_norm(hidden, shape, None, config.epsilon) @ layer.qkv
            pairs = qkv.view(len(qkv), -1, config.head_dim // 2, 2)[:, :rotated]
            torch.view_as_complex(pairs).mul_(rotations)
            cache.rows[index].index_copy_(0, batch.cache_rows, qkv[:, width:])
            attended = self._attend(qkv[:, :width], cache.layers[index], batch)
            hidden = torch.addmm(hidden, attended, layer.output)
            gate, up = (rms_norm(hidden, shape, None, config.epsilon) @ layer.gate_up).chunk(2, -1)
            hidden = torch.addmm(hidden, silu(gate).mul_(up), layer.down)
        if batch.outputs is not None:
            hidden = hidden[batch.outputs]
        return rms_norm(hidden, shape, None, config.epsilon) @ self.head

    def _attend(self, queries: torch.Tensor, keys_values: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Attention of every row of the step over its own slot: ``[N, heads * head_dim]`` in and out."""
        if not batch.prefills:
            return self._attend_singles(queries, keys_values, batch)
        parts = [self._attend_singles(queries[: batch.decodes], keys_values, batch)] if batch.decodes else []
        config = self.config
        for prefill in batch.prefills:
            end = prefill.start + prefill.count
            # The query heads of a group share their key head by a stride of zero: [kv_heads, group, tokens, head_dim].
            query = queries[prefill.first : prefill.first + prefill.count]
            query = query.view(prefill.count, config.kv_heads, -1, config.head_dim).permute(1, 2, 0, 3)
            key, value = (
                keys_values[prefill.slot, :end].permute(1, 2, 0, 3)[:, :, None].expand(-1, -1, query.shape[1], -1, -1)
            )
            mask = None
            if prefill.start:
                mask = torch.ones(prefill.count, end, dtype=torch.bool, device=self.device).tril_(prefill.start)
            attended = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
            parts.append(attended.permute(2, 0, 1, 3).reshape(prefill.count, -1))
        return torch.cat(parts)

    def _attend_singles(self, queries: torch.Tensor, keys_values: torch.Tensor, batch: Batch) -> torch.Tensor:
        """All sequences that compute one token, at once: a group's query heads are packed as query positions."""
        config = self.config
        if batch.decode_slots is not None:
            spread = queries.new_zeros(batch.decode_width, queries.shape[1])
            queries = spread.index_copy_(0, batch.decode_slots, queries)
        query = queries.view(batch.decode_width, config.kv_heads, -1, config.head_dim)
        view = keys_values[: batch.decode_width, : batch.decode_length]
        key, value = view[:, :, 0].transpose(1, 2), view[:, :, 1].transpose(1, 2)
        mask = batch.decode_mask
        if mask is not None:
            mask = mask.expand(-1, 1, query.shape[2], -1)
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask).reshape(batch.decode_width, -1)
        return attended if batch.decode_slots is None else attended[batch.decode_slots]
