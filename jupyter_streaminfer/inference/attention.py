"""Attention of a step's tokens over the blocks of their own sequences, in torch, on any device.

Query heads that share a key head are never given copies of it: of a single token they are packed as query positions,
of a longer chunk they share the keys by a stride of zero.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import scaled_dot_product_attention

from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.paged_attention import PagedAttention, paged_attention
from jupyter_streaminfer.inference.staging import upload


@dataclass(frozen=True, slots=True)
class Stretch:
    """A chunk of several tokens: the rows of the step that it has, and the blocks up to its end."""

    first: int
    count: int
    start: int
    """The position of its first token."""
    table: torch.Tensor

    @property
    def end(self) -> int:
        return self.start + self.count


class StepTensors:
    """A step on the device, used by all its layers; its tensors may be buffers that are filled anew for each step."""

    def __init__(
        self,
        token_ids: torch.Tensor,
        positions: torch.Tensor,
        places: torch.Tensor,
        tables: torch.Tensor,
        *,
        outputs: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        singles: torch.Tensor | None = None,
        stretches: Seq[Stretch] = (),
        paged: PagedAttention | None = None,
        sources: torch.Tensor | None = None,
        drawn: torch.Tensor | None = None,
    ) -> None:
        """``[N]`` each, and the ``tables`` ``[D, columns]`` of the chunks of one token.

        ``places`` are where keys and values go, counted through all blocks; ``outputs`` None: hidden states of all rows
        are wanted; ``lengths`` None: a single token sees up to its own position; ``paged`` None: torch attends.
        ``sources``: where tokens stand in ``drawn``, -1 for those that are in ``token_ids``; None: all are.
        """
        if sources is not None and drawn is not None:
            token_ids = torch.where(sources < 0, token_ids, drawn[sources.clamp_min(0)])
        self.token_ids = token_ids
        self.positions = positions
        self.places = places
        self.tables = tables
        self.outputs = outputs
        self.singles = singles
        """Rows of the chunks of one token; None: all of the step's."""
        self.stretches = stretches
        self.paged = paged
        self._single_positions = positions if singles is None else positions[singles]
        self._lengths = lengths
        self._masks: dict[tuple[int, int | None], torch.Tensor] = {}

    @property
    def lengths(self) -> torch.Tensor:
        """How many positions each single token sees at most, ``[D]``; 0 for a row that is nobody's."""
        if self._lengths is None:
            self._lengths = self._single_positions + 1
        return self._lengths

    def single_mask(self, window: int | None) -> torch.Tensor:
        """Which of its table's positions each single token sees: ``[D, 1, 1, L]``."""
        if (mask := self._masks.get((-1, window))) is None:
            keys = torch.arange(self.tables.shape[1] * BLOCK_TOKENS, device=self.tables.device)
            mask = _visible(self._single_positions[:, None], keys, window)[:, None, None]
            self._masks[-1, window] = mask
        return mask

    def stretch_mask(self, index: int, window: int | None) -> torch.Tensor:
        """Which positions up to its end each token of a stretch sees: ``[count, end]``."""
        if (mask := self._masks.get((index, window))) is None:
            stretch = self.stretches[index]
            keys = torch.arange(stretch.end, device=self.positions.device)
            mask = _visible(keys[stretch.start :, None], keys, window)
            self._masks[index, window] = mask
        return mask


class Step(StepTensors):
    """A `Batch`, sent to the device in one copy; made once a step."""

    def __init__(
        self,
        batch: Batch,
        device: torch.device,
        paged: PagedAttention | None = None,
        drawn: torch.Tensor | None = None,
    ) -> None:
        """``paged``: what attends with single tokens, if not what suits the device; ``drawn``: see `CausalModel`."""
        counts = np.diff(batch.rows)
        blocks = -(-batch.lengths // BLOCK_TOKENS)
        owners = np.repeat(np.arange(len(counts)), counts)
        places = batch.tables[owners, batch.positions // BLOCK_TOKENS] * BLOCK_TOKENS + batch.positions % BLOCK_TOKENS
        alone = np.flatnonzero(counts == 1)
        longer = np.flatnonzero(counts > 1)
        width = int(blocks[alone].max(initial=0))
        # Beyond its own blocks a table repeats its first: masked, but another's NaN there would survive the mask.
        padding = np.arange(width) >= blocks[alone, None]
        arrays = [
            batch.token_ids,
            batch.positions,
            places,
            np.where(padding, batch.tables[alone, :1], batch.tables[alone, :width]),
            batch.outputs,
            batch.rows[alone],
            np.zeros(0, np.int32) if batch.sources is None else batch.sources,
            *(batch.tables[chunk, : blocks[chunk]] for chunk in longer),
        ]
        token_ids, positions, kept, tables, outputs, rows, sources, *others = _upload(arrays, device)
        stretches = [
            Stretch(int(batch.rows[chunk]), int(counts[chunk]), int(batch.positions[batch.rows[chunk]]), table)
            for chunk, table in zip(longer, others, strict=True)
        ]
        super().__init__(
            token_ids,
            positions,
            kept,
            tables,
            outputs=outputs,
            singles=rows if stretches else None,
            stretches=stretches,
            paged=paged or paged_attention(device),
            sources=None if batch.sources is None else sources,
            drawn=drawn,
        )


def _visible(queries: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    """Causal: a token sees itself and what is before it, within a window the last ``window`` of those."""
    visible = keys <= queries
    return visible if window is None else visible & (keys > queries - window)


def _upload(arrays: list[npt.NDArray[np.integer]], device: torch.device) -> list[torch.Tensor]:
    """The arrays as int64 tensors on the device; parts of one."""
    packed = upload(np.concatenate([array.ravel() for array in arrays], dtype=np.int64), device)
    parts = packed.split_with_sizes([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


@dataclass(frozen=True, slots=True)
class Attention:
    """How one layer attends."""

    scale: float | None = None
    """Multiplies the scores; None: one by the root of ``head_dim``."""
    window: int | None = None
    """How many positions a token sees, itself among them; None: all."""
    softcap: float | None = None
    """Scores are squashed to within plus and minus this."""

    def __call__(
        self, queries: torch.Tensor, keys_values: torch.Tensor, layer: torch.Tensor, step: StepTensors
    ) -> torch.Tensor:
        """Keep the step's keys and values in ``layer``, a tensor of `KVStorage`, and attend.

        ``queries``: ``[N, heads, head_dim]``, as is what comes back; ``keys_values``: ``[N, 2, kv_heads, head_dim]``.
        """
        layer.view(-1, *layer.shape[2:]).index_copy_(0, step.places, keys_values.to(layer.dtype))
        if step.singles is None:
            return self._attend_singles(queries, layer, step)
        attended = torch.empty_like(queries)
        if len(step.singles):
            attended[step.singles] = self._attend_singles(queries[step.singles], layer, step)
        for index, stretch in enumerate(step.stretches):
            rows = slice(stretch.first, stretch.first + stretch.count)
            attended[rows] = self._attend_stretch(queries[rows], layer, step, index)
        return attended

    def _attend_singles(self, queries: torch.Tensor, layer: torch.Tensor, step: StepTensors) -> torch.Tensor:
        """All of them at once, ``[D, heads, head_dim]``, as far as the longest goes."""
        count, kv_heads, head_dim = len(queries), *layer.shape[3:]
        if step.paged is not None and step.paged.suits(queries.shape[1], kv_heads, head_dim, queries.dtype):
            scale = head_dim**-0.5 if self.scale is None else self.scale
            return step.paged(
                queries, layer, step.tables, step.lengths, scale=scale, window=self.window, softcap=self.softcap
            )
        found = _gather(layer, step.tables, queries.dtype).view(count, -1, 2, kv_heads, head_dim)
        key, value = found.permute(2, 0, 3, 1, 4)
        query = queries.view(count, kv_heads, -1, head_dim)
        mask = step.single_mask(self.window).expand(-1, 1, query.shape[2], -1)
        return self._scores(query, key, value, mask).reshape(queries.shape)

    def _attend_stretch(
        self, queries: torch.Tensor, layer: torch.Tensor, step: StepTensors, index: int
    ) -> torch.Tensor:
        stretch = step.stretches[index]
        kv_heads, head_dim = layer.shape[3:]
        found = _gather(layer, stretch.table, queries.dtype).view(-1, 2, kv_heads, head_dim)[: stretch.end]
        query = queries.view(stretch.count, kv_heads, -1, head_dim).permute(1, 2, 0, 3)
        key, value = found.permute(1, 2, 0, 3)[:, :, None].expand(-1, -1, query.shape[1], -1, -1)
        plain = stretch.start == 0 and (self.window is None or self.window >= stretch.end) and self.softcap is None
        mask = None if plain else step.stretch_mask(index, self.window)
        return self._scores(query, key, value, mask).permute(2, 0, 1, 3).reshape(queries.shape)

    def _scores(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Attention over ``[..., tokens, head_dim]``; no mask: plainly causal."""
        if self.softcap is None or mask is None:
            return scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=mask is None, scale=self.scale
            )
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores = (query @ key.transpose(-1, -2)).float().mul_(scale / self.softcap).tanh_().mul_(self.softcap)
        return scores.masked_fill_(~mask, -torch.inf).softmax(-1).to(query.dtype) @ value


def _gather(layer: torch.Tensor, table: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The table's blocks in a row, in the dtype in which is computed."""
    return layer.index_select(0, table.flatten()).to(dtype)
