"""The lean forward of the Llama family in torch, for any device: few and fused operations over a flat batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import embedding, linear, rms_norm, silu

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.attention import Attention, Step, StepTensors
from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.checkpoint import Checkpoint
from jupyter_streaminfer.inference.decode_graphs import DecodeGraphs
from jupyter_streaminfer.inference.kv_storage import KVStorage
from jupyter_streaminfer.inference.paged_attention import PagedAttention, paged_attention
from jupyter_streaminfer.inference.weights import LayerWeights, Weights


@dataclass(frozen=True, slots=True)
class Layer:
    """One block's weights on the device, matrices ``[in, out]``."""

    attention_norm: torch.Tensor
    mlp_norm: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    qk_norm: torch.Tensor | None
    """``[heads + kv_heads, head_dim]``: the query norm's weight for each query head, then the key norm's."""
    output: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class TorchLlama:
    """A `CausalModel`: Llama, Mistral, Qwen2 or Qwen3, weights and cache in one dtype."""

    def __init__(
        self,
        folder: Path,
        size: Architecture,
        *,
        dtype: str,
        device: torch.device,
        reason: str,
        paged: PagedAttention | None = None,
        graphs: bool | None = None,
        ahead: bool | None = None,
    ) -> None:
        """Read ``folder`` in ``dtype``, float32 or bfloat16; ``reason``: why this forward was chosen.

        ``paged``: what attends with single tokens, if not what suits the device; ``graphs``: whether steps of single
        tokens are computed over buffers that stay, None: where kernels attend; ``ahead``: whether a step may be begun
        before the last one's tokens are known, None: on a GPU, which the host need not wait for.
        Raises `StreaminferError` naming the file or tensor that cannot be used.
        """
        self.size = size
        self.architecture = size.name
        self.dtype = dtype
        self.device = device
        self.vocabulary = size.vocabulary
        self.hidden_size = size.hidden
        self.parameters = size.parameters
        self.context_length = size.context_length
        kept = getattr(torch, dtype)
        self.paged = paged or paged_attention(device)
        if not PagedAttention.suits(size.heads, size.kv_heads, size.head_dim, kept):
            self.paged = None
        self._has_graphs = self.paged is not None if graphs is None else graphs
        self._ahead = device.type == "cuda" if ahead is None else ahead
        self.drawn: torch.Tensor | None = None
        """See `CausalModel`; from `allocate` on, where there is one."""
        self.graphs: DecodeGraphs | None = None
        """From `allocate` on, where there are any."""
        ways = ["paged attention"] * (self.paged is not None) + ["decode graphs"] * self._has_graphs
        self.runner = f"torch ({', '.join([reason, *ways])})"
        with Checkpoint(folder) as checkpoint:
            weights = Weights(checkpoint, size, kept)
            self.embedding = _kept(weights.embedding(), device)
            self.norm = weights.norm().to(device, kept)
            self.head = self.embedding if size.tied else _kept(weights.head(), device)
            self.layers = [_layer(layer, size, device) for layer in weights.layers()]
        self.inverse_frequencies = torch.tensor(size.inverse_frequencies, device=device)
        self.attention = Attention()
        self.storage = KVStorage([(size.kv_heads, size.head_dim)] * size.layers, kept, device)
        self.token_bytes = self.storage.token_bytes
        self.weight_bytes = self.embedding.nbytes + (0 if size.tied else self.head.nbytes)
        self.weight_bytes += sum(
            tensor.nbytes for layer in self.layers for tensor in (layer.qkv, layer.output, layer.gate_up, layer.down)
        )

    def allocate(self, blocks: int) -> None:
        """See `CausalModel`."""
        self.storage.allocate(blocks + self._has_graphs)
        if self._ahead:
            # A place for each sequence that can run: each has a block of its own.
            self.drawn = torch.zeros(blocks, dtype=torch.int64, device=self.device)
        if self._has_graphs:
            columns = min(blocks, -(-self.context_length // BLOCK_TOKENS))
            self.graphs = DecodeGraphs(
                device=self.device, paged=self.paged, drawn=self.drawn, columns=columns, scratch=blocks
            )

    def clear(self, blocks: list[int]) -> None:
        """See `CausalModel`: nothing to do where the kernels attend, they never read past a sequence's length."""
        if self.paged is None:
            self.storage.clear(blocks)

    @torch.inference_mode()
    def hidden(self, batch: Batch) -> torch.Tensor:
        """See `CausalModel`."""
        if self.graphs is not None and (hidden := self.graphs.hidden(batch, self._forward)) is not None:
            return hidden
        return self._forward(Step(batch, self.device, self.paged, self.drawn))

    def _forward(self, step: StepTensors) -> torch.Tensor:
        """The normed last hidden states of ``step.outputs``, ``[R, hidden]`` float32."""
        size = self.size
        cosine, sine = self._rotations(step.positions)
        hidden = embedding(step.token_ids, self.embedding)
        for layer, keys_values in zip(self.layers, self.storage.layers, strict=True):
            normed = rms_norm(hidden, (size.hidden,), layer.attention_norm, size.epsilon)
            qkv = normed @ layer.qkv if layer.qkv_bias is None else torch.addmm(layer.qkv_bias, normed, layer.qkv)
            heads = qkv.view(len(qkv), -1, size.head_dim)
            _rotate(heads[:, : size.heads + size.kv_heads], layer.qk_norm, size.epsilon, cosine, sine)
            attended = self.attention(
                heads[:, : size.heads],
                heads[:, size.heads :].view(len(qkv), 2, size.kv_heads, size.head_dim),
                keys_values,
                step,
            )
            hidden = torch.addmm(hidden, attended.view(len(qkv), -1), layer.output)
            normed = rms_norm(hidden, (size.hidden,), layer.mlp_norm, size.epsilon)
            gate, up = (normed @ layer.gate_up).chunk(2, -1)
            hidden = torch.addmm(hidden, silu(gate).mul_(up), layer.down)
        wanted = hidden if step.outputs is None else hidden[step.outputs]
        return rms_norm(wanted, (size.hidden,), self.norm, size.epsilon).float()

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `CausalModel`."""
        return linear(hidden.to(self.head.dtype), self.head).float()

    def _rotations(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of every token's angles: ``[N, 1, head_dim / 2]``, float32."""
        angles = (positions[:, None] * self.inverse_frequencies)[:, None]
        return angles.cos().mul_(self.size.rope_scale), angles.sin().mul_(self.size.rope_scale)


def _rotate(
    heads: torch.Tensor, norm: torch.Tensor | None, epsilon: float, cosine: torch.Tensor, sine: torch.Tensor
) -> None:
    """Norm (where there is one) and rotate ``[N, heads, head_dim]`` in place; a pair's halves are half a head apart."""
    values = heads.float()
    if norm is not None:
        values = rms_norm(values, values.shape[-1:], None, epsilon).mul_(norm)
    first, second = values.chunk(2, -1)
    rotated = torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)
    heads.copy_(rotated)


def _layer(layer: LayerWeights, size: Architecture, device: torch.device) -> Layer:
    norm = None
    if layer.query_norm is not None and layer.key_norm is not None:
        norm = torch.cat([layer.query_norm.expand(size.heads, -1), layer.key_norm.expand(size.kv_heads, -1)]).to(device)
    return Layer(
        attention_norm=layer.attention_norm.to(device, layer.qkv.dtype),
        mlp_norm=layer.mlp_norm.to(device, layer.qkv.dtype),
        qkv=_kept(layer.qkv, device).t(),
        qkv_bias=None if layer.qkv_bias is None else layer.qkv_bias.to(device, layer.qkv.dtype),
        qk_norm=norm,
        output=_kept(layer.output, device).t(),
        gate_up=_kept(torch.cat([layer.gate, layer.up]), device).t(),
        down=_kept(layer.down, device).t(),
    )


def _kept(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy of what may be a view of the file."""
    return torch.empty_like(tensor, device=device).copy_(tensor)
