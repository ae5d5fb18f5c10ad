"""Memory for what a model keeps for its whole life, in as large pages as the system has."""

from __future__ import annotations

import mmap

import torch

SLAB_BYTES = 64 * 2**20
"""Asked of the system at once; what is not written of it takes no memory."""
PAGE_BYTES = 2 * 2**20
LINE_BYTES = 64


class Arena:
    """Copies of tensors side by side, which live as long as one of them does.

    Every step reads all weights once. In pages of 4 KiB the processor loses its way at the end of each: with huge ones
    a step of a model larger than the caches takes a tenth less.
    """

    def __init__(self) -> None:
        self._slab: mmap.mmap | None = None
        self._used = 0

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """A contiguous copy of a tensor of at least one element; `OSError` where there is no memory."""
        start = -(-self._used // LINE_BYTES) * LINE_BYTES
        if self._slab is None or start + tensor.nbytes > len(self._slab):
            self._slab, start = _slab(tensor.nbytes), 0
        self._used = start + tensor.nbytes
        kept = torch.frombuffer(self._slab, dtype=tensor.dtype, count=tensor.numel(), offset=start)
        return kept.view(tensor.shape).copy_(tensor)


def _slab(bytes: int) -> mmap.mmap:
    size = max(SLAB_BYTES, -(-bytes // PAGE_BYTES) * PAGE_BYTES)
    slab = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        slab.madvise(mmap.MADV_HUGEPAGE)
    return slab
