"""Attention of single tokens over blocks of keys and values, in Triton. Imported only where Triton is.

A sequence's positions are cut into at most ``slices`` parts by its own length alone, so what a row gets does not depend
on the batch: one program attends over each part, another one joins them.
"""

import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]


@triton.jit  # type: ignore[untyped-decorator,misc,unused-ignore]
def slice_tokens(  # type: ignore[no-untyped-def,unused-ignore]
    count, slices: tl.constexpr, tile: tl.constexpr, least: tl.constexpr
):
    """How many of ``count`` positions a slice has: whole tiles, ``least`` or more; the last slice has what is left."""
    return tl.maximum(tl.cdiv(tl.cdiv(count, slices), tile) * tile, least)


# What differs from step to step must not make it compile anew.
@triton.jit(do_not_specialize=["table_row", "table_column"])  # type: ignore[untyped-decorator,misc,unused-ignore]
def attend_slices(  # type: ignore[no-untyped-def,unused-ignore]
    queries,
    layer,
    tables,
    lengths,
    bests,
    totals,
    sums,
    query_row,
    query_head,
    table_row,
    table_column,
    window,
    scale,
    softcap,
    capped: tl.constexpr,
    kv_heads: tl.constexpr,
    group: tl.constexpr,
    group_room: tl.constexpr,
    head_dim: tl.constexpr,
    dim_room: tl.constexpr,
    block_tokens: tl.constexpr,
    slices: tl.constexpr,
    tile: tl.constexpr,
    least: tl.constexpr,
) -> None:
    """Attend with the queries of one key head over one slice of one row's positions.

    Keeps, unless the slice is empty, the highest score, the sum of the weights and the weighted sum of the values:
    ``bests`` and ``totals`` ``[rows, heads, slices]``, ``sums`` ``[rows, heads, slices, head_dim]``.
    """
    row = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    part = tl.program_id(2)
    length = tl.load(lengths + row).to(tl.int32)
    first = tl.maximum(length - window, 0)
    tokens = slice_tokens(length - first, slices, tile, least)
    begin = first + part * tokens
    end = tl.minimum(begin + tokens, length)
    if begin < end:
        members = tl.arange(0, group_room)
        dims = tl.arange(0, dim_room)
        heads = kv_head * group + members
        real = (members < group)[:, None] & (dims < head_dim)[None, :]
        places = queries + row * query_row + heads[:, None] * query_head + dims[None, :]
        query = tl.load(places, mask=real, other=0.0)
        best = tl.full([group_room], float("-inf"), tl.float32)
        total = tl.zeros([group_room], tl.float32)
        weighted = tl.zeros([group_room, dim_room], tl.float32)
        for start in range(begin, end, tile):
            positions = start + tl.arange(0, tile)
            seen = positions < end
            found = tables + row * table_row + (positions // block_tokens) * table_column
            blocks = tl.load(found, mask=seen, other=0).to(tl.int64)
            tokens_at = blocks * block_tokens + positions % block_tokens
            keys = layer + (tokens_at * (2 * kv_heads) + kv_head) * head_dim
            inside = seen[:, None] & (dims < head_dim)[None, :]
            key = tl.load(keys[:, None] + dims[None, :], mask=inside, other=0.0).to(query.dtype)
            scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
            if capped:
                # The hyperbolic tangent; at the ends the exponential is 0 or infinite, which is right.
                scores = softcap * (1.0 - 2.0 / (tl.exp(2.0 * scores / softcap) + 1.0))
            scores = tl.where(seen[None, :], scores, float("-inf"))
            higher = tl.maximum(best, tl.max(scores, 1))
            weights = tl.exp(scores - higher[:, None])
            fade = tl.exp(best - higher)
            total = total * fade + tl.sum(weights, 1)
            values = keys + kv_heads * head_dim
            value = tl.load(values[:, None] + dims[None, :], mask=inside, other=0.0).to(query.dtype)
            weighted = weighted * fade[:, None] + tl.dot(weights.to(query.dtype), value, input_precision="ieee")
            best = higher
        kept = (row * (kv_heads * group) + heads) * slices + part
        tl.store(bests + kept, best, mask=members < group)
        tl.store(totals + kept, total, mask=members < group)
        tl.store(sums + kept[:, None] * head_dim + dims[None, :], weighted, mask=real)


@triton.jit  # type: ignore[untyped-decorator,misc,unused-ignore]
def join_slices(  # type: ignore[no-untyped-def,unused-ignore]
    bests,
    totals,
    sums,
    lengths,
    attended,
    window,
    head_dim: tl.constexpr,
    dim_room: tl.constexpr,
    slices: tl.constexpr,
    tile: tl.constexpr,
    least: tl.constexpr,
) -> None:
    """Join the slices of one head of one row into ``attended`` ``[rows, heads, head_dim]``; 0 for a length of 0."""
    row = tl.program_id(0).to(tl.int64)
    place = row * tl.num_programs(1) + tl.program_id(1)
    length = tl.load(lengths + row).to(tl.int32)
    count = tl.minimum(length, window)
    parts = tl.arange(0, slices)
    dims = tl.arange(0, dim_room)
    kept = parts * slice_tokens(count, slices, tile, least) < count
    best = tl.load(bests + place * slices + parts, mask=kept, other=float("-inf"))
    weights = tl.where(kept, tl.exp(best - tl.max(best, 0)), 0.0)
    total = tl.sum(weights * tl.load(totals + place * slices + parts, mask=kept, other=0.0), 0)
    rows = sums + (place * slices + parts)[:, None] * head_dim + dims[None, :]
    inside = kept[:, None] & (dims < head_dim)[None, :]
    joined = tl.sum(weights[:, None] * tl.load(rows, mask=inside, other=0.0), 0) / total
    result = tl.where(length > 0, joined, 0.0)
    tl.store(attended + place * head_dim + dims, result.to(attended.dtype.element_ty), mask=dims < head_dim)
