"""Attention over blocks against the formula, for any mix of chunks and single tokens."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_streaminfer.inference.attention import Attention, Step
from jupyter_streaminfer.inference.batch import build_batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.kv_storage import KVStorage
from jupyter_streaminfer.inference.scheduler import Chunk
from jupyter_streaminfer.inference.sequence import Sequence

CPU = torch.device("cpu")
HEAD_DIM = 8
Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Stream:
    """A sequence with queries ``[T, heads, head_dim]``, keys and values ``[T, kv_heads, head_dim]`` drawn for it."""

    def __init__(self, length: int, heads: int, kv_heads: int, draw: torch.Generator, blocks: list[int]) -> None:
        self.sequence = Sequence("", [0] * length, 1, blocks=blocks)
        self.tensors: Tensors = (
            torch.randn(length, heads, HEAD_DIM, generator=draw),
            torch.randn(length, kv_heads, HEAD_DIM, generator=draw),
            torch.randn(length, kv_heads, HEAD_DIM, generator=draw),
        )


def formula(tensors: Tensors, how: Attention) -> torch.Tensor:
    """Causal attention of a whole sequence in float64, every head with keys of its own."""
    query, key, value = (tensor.double().transpose(0, 1) for tensor in tensors)
    group = len(query) // len(key)
    key, value = key.repeat_interleave(group, 0), value.repeat_interleave(group, 0)
    scores = query @ key.transpose(1, 2) * (HEAD_DIM**-0.5 if how.scale is None else how.scale)
    if how.softcap is not None:
        scores = how.softcap * torch.tanh(scores / how.softcap)
    distance = torch.arange(len(tensors[0]))[:, None] - torch.arange(len(tensors[0]))
    hidden = (distance < 0) | (distance >= (how.window or len(distance)))
    return (scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value).transpose(0, 1).float()


def compute(streams: Seq[Stream], counts: Seq[int], layer: torch.Tensor, how: Attention) -> list[torch.Tensor]:
    """One step: the rows that come back for each stream that computes something."""
    chosen = [(stream, count) for stream, count in zip(streams, counts, strict=True) if count]
    parts = [
        [tensor[stream.sequence.computed : stream.sequence.computed + count] for tensor in stream.tensors]
        for stream, count in chosen
    ]
    query, key, value = (torch.cat(list(rows)) for rows in zip(*parts, strict=True))
    step = Step(build_batch([Chunk(stream.sequence, count) for stream, count in chosen]), CPU)
    rows = how(query, torch.stack([key, value], 1), layer, step).split([count for _, count in chosen])
    for stream, count in chosen:
        stream.sequence.computed += count
    return list(rows)


@settings(max_examples=80)
@given(
    data=st.data(),
    lengths=st.lists(st.integers(1, 3 * BLOCK_TOKENS), min_size=1, max_size=4),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    how=st.builds(
        Attention,
        scale=st.none() | st.floats(0.1, 1.0),
        window=st.none() | st.integers(1, 40),
        softcap=st.none() | st.floats(1.0, 20.0),
    ),
)
def test_any_mix_of_chunks_is_the_formula(
    data: st.DataObject, lengths: list[int], kv_heads: int, group: int, how: Attention
) -> None:
    draw = torch.Generator().manual_seed(0)
    storage = KVStorage([(kv_heads, HEAD_DIM)], torch.float32, CPU)
    storage.allocate(3 * len(lengths))
    blocks = data.draw(st.permutations(range(3 * len(lengths))))
    streams = [
        Stream(length, kv_heads * group, kv_heads, draw, blocks[3 * i : 3 * i + 3]) for i, length in enumerate(lengths)
    ]
    found: list[list[torch.Tensor]] = [[] for _ in streams]
    while any(pending := [stream.sequence.pending for stream in streams]):
        counts = [min(left, data.draw(st.sampled_from([left, 5, 1, 0]))) for left in pending]
        if not any(counts):
            counts = pending
        rows = iter(compute(streams, counts, storage.layers[0], how))
        for parts, count in zip(found, counts, strict=True):
            if count:
                parts.append(next(rows))
    for stream, parts in zip(streams, found, strict=True):
        torch.testing.assert_close(torch.cat(parts), formula(stream.tensors, how), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("other", [1, 5], ids=["a token", "a chunk"])
@pytest.mark.parametrize("how", [Attention(), Attention(window=20), Attention(softcap=5.0)], ids=repr)
def test_a_broken_sequence_breaks_no_other(how: Attention, other: int) -> None:
    draw = torch.Generator().manual_seed(0)
    storage = KVStorage([(2, HEAD_DIM)], torch.float32, CPU)
    storage.allocate(6)
    broken, short = Stream(40, 4, 2, draw, [0, 1, 2]), Stream(9, 4, 2, draw, [4])
    for tensor in broken.tensors:
        tensor.fill_(torch.nan)
    compute([broken, short], [39, 9 - other], storage.layers[0], how)
    _, rows = compute([broken, short], [1, other], storage.layers[0], how)
    torch.testing.assert_close(rows, formula(short.tensors, how)[-other:], atol=2e-5, rtol=2e-5)

    # Who gets the blocks next sees nothing of it either, once they are cleared.
    storage.clear([0, 1, 2])
    heir = Stream(5, 4, 2, draw, [1])
    compute([heir], [4], storage.layers[0], how)
    (rows,) = compute([heir], [1], storage.layers[0], how)
    torch.testing.assert_close(rows, formula(heir.tensors, how)[-1:], atol=2e-5, rtol=2e-5)


def test_shared_blocks_are_read_by_both() -> None:
    draw = torch.Generator().manual_seed(0)
    storage = KVStorage([(1, HEAD_DIM)], torch.float32, CPU)
    storage.allocate(4)
    first = Stream(20, 2, 1, draw, [2, 0])
    second = Stream(23, 2, 1, draw, [2, 3])
    for mine, shared in zip(second.tensors, first.tensors, strict=True):
        mine[:BLOCK_TOKENS] = shared[:BLOCK_TOKENS]
    compute([first], [20], storage.layers[0], Attention())
    second.sequence.computed = BLOCK_TOKENS
    (rows,) = compute([second], [7], storage.layers[0], Attention())
    torch.testing.assert_close(rows, formula(second.tensors, Attention())[-7:], atol=2e-5, rtol=2e-5)


def test_a_bfloat16_cache_serves_float32_queries() -> None:
    draw = torch.Generator().manual_seed(0)
    storage = KVStorage([(2, HEAD_DIM), (1, 4)], torch.bfloat16, CPU)
    assert storage.token_bytes == (2 * 2 * HEAD_DIM + 2 * 4) * 2
    storage.allocate(3)
    stream = Stream(21, 4, 2, draw, [1, 2])
    (head,) = compute([stream], [20], storage.layers[0], Attention())
    (last,) = compute([stream], [1], storage.layers[0], Attention())
    query, key, value = stream.tensors
    expected = formula((query, key.bfloat16(), value.bfloat16()), Attention())
    torch.testing.assert_close(torch.cat([head, last]), expected, atol=2e-5, rtol=2e-5)
