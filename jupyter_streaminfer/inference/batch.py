"""The tensors of one step, made from the scheduler's chunks."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch

from jupyter_streaminfer.inference.scheduler import Chunk


@dataclass(frozen=True, slots=True)
class Prefill:
    """A chunk of several tokens: rows ``first..first + count - 1`` of the step, positions ``start..`` of ``slot``."""

    slot: int
    first: int
    count: int
    start: int


@dataclass(frozen=True, slots=True)
class Batch:
    """``N`` tokens of many sequences in a row: first those that come singly, by slot, then the longer chunks."""

    token_ids: torch.Tensor
    """``[N]`` int64."""
    positions: torch.Tensor
    """``[N]`` int64, within each sequence."""
    cache_rows: torch.Tensor
    """``[N]`` int64: where each token's key and value go, as ``slot * context_length + position``."""
    decodes: int
    """How many of the rows are single tokens."""
    decode_slots: torch.Tensor | None
    """Their slots; None when they are exactly ``0..decodes - 1``."""
    decode_width: int
    """One more than the highest of them."""
    decode_length: int
    """Positions in the cache of the longest of them, the new one included."""
    decode_mask: torch.Tensor | None
    """``[decode_width, 1, 1, decode_length]`` float32 to add to the scores; None when all are equally long."""
    prefills: list[Prefill]
    outputs: torch.Tensor | None
    """The rows whose logits are wanted, in the order of ``completing``; None when they are all rows."""
    completing: list[Chunk]
    """The chunks after which their sequence has its next token."""


def build_batch(chunks: Seq[Chunk], context_length: int, device: torch.device) -> Batch:
    """Lay out a step's chunks; every sequence must have its slot."""
    singles = sorted((chunk for chunk in chunks if chunk.count == 1), key=_slot)
    longer = [chunk for chunk in chunks if chunk.count > 1]
    token_ids: list[int] = []
    positions: list[int] = []
    cache_rows: list[int] = []
    outputs: list[int] = []
    completing: list[Chunk] = []
    prefills: list[Prefill] = []
    for chunk in (*singles, *longer):
        sequence, start = chunk.sequence, chunk.sequence.computed
        if chunk.count > 1:
            prefills.append(Prefill(_slot(chunk), len(token_ids), chunk.count, start))
        token_ids += sequence.token_ids[start : start + chunk.count]
        positions += range(start, start + chunk.count)
        base = _slot(chunk) * context_length + start
        cache_rows += range(base, base + chunk.count)
        if chunk.completes:
            outputs.append(len(token_ids) - 1)
            completing.append(chunk)

    slots = [_slot(chunk) for chunk in singles]
    width = slots[-1] + 1 if slots else 0
    longest = max((chunk.sequence.computed + 1 for chunk in singles), default=0)
    mask = None
    if any(chunk.sequence.computed + 1 != longest for chunk in singles):
        last = torch.zeros(width, dtype=torch.long)
        last[slots] = torch.tensor(positions[: len(slots)])
        mask = torch.zeros(width, longest).masked_fill_(torch.arange(longest) > last[:, None], -torch.inf)
        mask = mask[:, None, None].to(device)
    return Batch(
        token_ids=torch.tensor(token_ids, device=device),
        positions=torch.tensor(positions, device=device),
        cache_rows=torch.tensor(cache_rows, device=device),
        decodes=len(singles),
        decode_slots=None if width == len(slots) else torch.tensor(slots, device=device),
        decode_width=width,
        decode_length=longest,
        decode_mask=mask,
        prefills=prefills,
        outputs=None if len(outputs) == len(token_ids) else torch.tensor(outputs, dtype=torch.long, device=device),
        completing=completing,
    )


def _slot(chunk: Chunk) -> int:
    slot = chunk.sequence.slot
    if slot is None:
        raise ValueError(f"sequence {chunk.sequence.job} has no slot")
    return slot
