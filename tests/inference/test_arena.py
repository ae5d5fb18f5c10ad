"""Tensors side by side in memory that belongs to them."""

import gc
import weakref
from itertools import pairwise

import pytest
import torch

from jupyter_streaminfer.inference import arena
from jupyter_streaminfer.inference.arena import LINE_BYTES, Arena

DTYPES = [torch.float32, torch.bfloat16, torch.int8]


@pytest.mark.parametrize("slab_bytes", [4096, 64 * 2**20])
def test_copies_keep_what_they_were_made_of(monkeypatch: pytest.MonkeyPatch, slab_bytes: int) -> None:
    """In one slab, over several, and one that is larger than a slab."""
    monkeypatch.setattr(arena, "SLAB_BYTES", slab_bytes)
    monkeypatch.setattr(arena, "PAGE_BYTES", 4096)
    draw = torch.Generator().manual_seed(0)
    originals = [torch.randn(rows, 7, generator=draw).to(dtype) for rows in (1, 300, 3, 50) for dtype in DTYPES]
    originals.append(torch.randn(5, 9, generator=draw).T)
    memory = Arena()
    copies = [memory.copy(each) for each in originals]
    for copy, original in zip(copies, originals, strict=True):
        assert torch.equal(copy, original)
        assert copy.is_contiguous()
        assert copy.data_ptr() % LINE_BYTES == 0
    spans = sorted((copy.data_ptr(), copy.data_ptr() + copy.nbytes) for copy in copies)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_a_copy_outlives_its_arena_and_memory_goes_with_the_last_copy() -> None:
    memory = Arena()
    copy = memory.copy(torch.arange(10))
    slab = weakref.ref(memory._slab)
    del memory
    gc.collect()
    assert copy.tolist() == list(range(10))
    assert slab() is not None
    del copy
    gc.collect()
    assert slab() is None
