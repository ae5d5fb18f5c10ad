"""Attention of single tokens straight over the blocks of their sequences, on a GPU: nothing is gathered or masked.

The kernels are in Triton, which torch's builds for GPUs bring along; where it is missing, or a first try of them fails,
`Attention` computes in torch.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch

from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS

log = logging.getLogger(__name__)

SLICES = 32
"""Into how many parts a sequence's positions are cut at most: enough to keep a GPU busy with one sequence."""
LEAST = 128
"""Positions of a slice, at least."""
TILE_BYTES = 8 * 1024
"""What a tile of keys takes at most, as long as it has `FEWEST` positions."""
MOST, FEWEST = 64, 16
"""Positions of a tile."""
ALL = 2**30
"""A window that no sequence exceeds."""
ROOM = 2**14
"""Numbers that a program sums up at most: query heads that share a key head times their dimensions."""


class PagedAttention:
    """Runs the kernels; a row's result does not depend on the other rows, to the last bit."""

    def __init__(self) -> None:
        """Needs Triton."""
        from jupyter_streaminfer.inference import paged_attention_kernels

        self._kernels: ModuleType = paged_attention_kernels

    @staticmethod
    def suits(heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype) -> bool:
        """Whether a program's share of such a layer fits into a multiprocessor."""
        return _room(heads // kv_heads) * _room(head_dim) <= ROOM and _room(head_dim) * dtype.itemsize <= 1024

    def __call__(
        self,
        queries: torch.Tensor,
        layer: torch.Tensor,
        tables: torch.Tensor,
        lengths: torch.Tensor,
        *,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """Attend with one token of each row: ``[rows, heads, head_dim]``, as ``queries`` are.

        ``layer`` is a tensor of `KVStorage`, ``tables`` ``[rows, columns]`` are the rows' blocks in it and ``lengths``
        ``[rows]`` how many positions each has, its own token's among them. A row of length 0 reads nothing and gets 0.
        """
        rows, heads, head_dim = queries.shape
        kv_heads = layer.shape[3]
        room = _room(head_dim)
        tile = min(MOST, max(FEWEST, TILE_BYTES // (room * queries.dtype.itemsize)))
        bests = torch.empty(rows, heads, SLICES, dtype=torch.float32, device=queries.device)
        totals = torch.empty_like(bests)
        sums = torch.empty(rows, heads, SLICES, head_dim, dtype=torch.float32, device=queries.device)
        attended = torch.empty(rows, heads, head_dim, dtype=queries.dtype, device=queries.device)
        seen = ALL if window is None else window
        self._kernels.attend_slices[rows, kv_heads, SLICES](
            queries,
            layer,
            tables,
            lengths,
            bests,
            totals,
            sums,
            queries.stride(0),
            queries.stride(1),
            tables.stride(0),
            tables.stride(1),
            seen,
            scale,
            softcap or 1.0,
            capped=softcap is not None,
            kv_heads=kv_heads,
            group=heads // kv_heads,
            group_room=_room(heads // kv_heads),
            head_dim=head_dim,
            dim_room=room,
            block_tokens=BLOCK_TOKENS,
            slices=SLICES,
            tile=tile,
            least=LEAST,
            num_warps=4,
            num_stages=2,
        )
        self._kernels.join_slices[rows, heads](
            bests,
            totals,
            sums,
            lengths,
            attended,
            seen,
            head_dim=head_dim,
            dim_room=room,
            slices=SLICES,
            tile=tile,
            least=LEAST,
        )
        return attended


def _room(numbers: int) -> int:
    """The next power of two, for the matrix units 16 at least."""
    return max(16, 1 << (numbers - 1).bit_length())


@cache
def paged_attention(device: torch.device) -> PagedAttention | None:
    """The kernels for this device, tried out once; None where `Attention` has to compute in torch."""
    if device.type != "cuda" or find_spec("triton") is None:
        return None
    try:
        kernels = PagedAttention()
        deviation = try_out(kernels, device)
    except Exception:  # whatever a compiler, a driver or another Triton says
        log.warning("The attention kernels cannot be used on %s; torch computes instead", device, exc_info=True)
        return None
    if not deviation < 1e-3:
        log.warning("The attention kernels are %.2g off on %s; torch computes instead", deviation, device)
        return None
    return kernels


def try_out(kernels: PagedAttention, device: torch.device) -> float:
    """How far the kernels are from the formula, at most, for two rows of some blocks and float32 numbers."""
    lengths = [3 * LEAST + 5, 1]
    columns = -(-lengths[0] // BLOCK_TOKENS)
    draw = torch.Generator().manual_seed(0)
    queries = torch.randn(2, 4, 64, generator=draw)
    layer = torch.randn(columns + 1, BLOCK_TOKENS, 2, 2, 64, generator=draw)
    tables = torch.stack([torch.arange(columns).flip(0), torch.full((columns,), columns)])
    tensors = (tensor.to(device) for tensor in (queries, layer, tables, torch.tensor(lengths)))
    found = kernels(*tensors, scale=0.125).cpu()
    deviation = 0.0
    for row, length in enumerate(lengths):
        seen = layer[tables[row]].view(-1, 2, 2, 64)[:length].double()
        key, value = seen.repeat_interleave(2, 2).permute(1, 2, 0, 3)
        weights = (key @ queries[row, :, :, None].double() * 0.125).softmax(1)
        expected = (weights * value).sum(1)
        deviation = max(deviation, float((found[row] - expected).abs().max()))
    return deviation
