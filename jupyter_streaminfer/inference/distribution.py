"""Drawing from filtered distributions, row by row alike in any batch.

A row's token must not depend on its neighbours, not even in its last bit. So all that is summed across a row is
summed as whole numbers in float64, which is exact in any order; the rest is element by element, or 64 tokens at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch

from jupyter_streaminfer.inference.sequence import Sampling

NUCLEUS = 256
"""Tokens that are looked at first for top_p; sorting the whole vocabulary is many times dearer and rarely needed."""
BLOCK = 64
"""Tokens that are summed at once: the draw finds the block first and then the token in it."""
COARSE = 2.0**32
"""Steps of a weight of 1: a million tokens add up exactly."""
FINE = 2.0**45
"""The same within a block, of which all weights may be small."""
FLOOR = -80.0
"""The log-weight of what is never drawn: its weight rounds to no step, and the exponential is still a fast one."""


def greedy(logits: torch.Tensor) -> list[int]:
    """The likeliest token of each row on the CPU; -1 where that is not finite.

    NaN anywhere in a row is its best. Every call of torch costs more than the search of a row.
    """
    values = logits.numpy()
    tokens: list[int] = values.argmax(-1).tolist()
    return [token if math.isfinite(values.item(row, token)) else -1 for row, token in enumerate(tokens)]


def likeliest(logits: torch.Tensor) -> torch.Tensor:
    """The first of the highest in each row, or of the NaN in it: ``[R]`` int64."""
    if logits.device.type == "cpu":  # torch's own takes ten times as long there
        return torch.from_numpy(logits.numpy().argmax(-1))
    return logits.argmax(-1)


def log_weights(logits: torch.Tensor, best: torch.Tensor, temperature: torch.Tensor | None) -> torch.Tensor:
    """``logits`` over ``temperature`` ``[R, 1]``, shifted so that the ``best`` ``[R, 1]`` is 0; at least `FLOOR`."""
    # Shifted first: a tiny temperature then makes the others -inf and not the best one inf.
    shifted = logits - best
    if temperature is not None:
        shifted.div_(temperature.clamp_min(torch.finfo(torch.float32).tiny))
    return shifted.clamp_min_(FLOOR)


def draw(scaled: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Invert each row's cumulative distribution, in the vocabulary's order, at its noise: ``[R]`` int64.

    ``scaled`` ``[R, vocabulary]`` are `log_weights` and used up; ``noise`` ``[R, 1]`` is float64 in [0, 1). A row
    with NaN gets any number up to the vocabulary's size, rounded up to a block.
    """
    weights = scaled.exp_()
    block, target = _invert(_block_sums(weights), noise)
    found = _blocks(weights).gather(1, block[:, :, None].expand(-1, -1, BLOCK))[:, 0]
    token, _ = _invert(_whole(found, FINE), target)
    return (block * BLOCK + token)[:, 0]


@dataclass(frozen=True, slots=True)
class Filters:
    """The rows of a batch that draw from less than the whole vocabulary; parameters are ``[F, 1]``."""

    rows: torch.Tensor | None
    """``[F]``; None where they are all of it."""
    width: int
    """Tokens of each row that are looked at in order, the likeliest ones; 0 where nothing needs it."""
    ranks: torch.Tensor
    """``top_k - 1``; -1 where there is no limit."""
    nucleus: torch.Tensor
    """``top_p`` in float64; 1 where there is no limit."""
    least: torch.Tensor
    """The logarithm of ``min_p``."""
    has_nucleus: bool

    @classmethod
    def of(cls, samplings: Seq[Sampling], vocabulary: int, device: torch.device) -> Filters | None:
        """What a batch filters; None where nothing is."""
        ranks = [sampling.top_k - 1 if sampling.top_k < vocabulary else -1 for sampling in samplings]
        rows = [
            row
            for row, sampling in enumerate(samplings)
            if ranks[row] >= 0 or sampling.top_p < 1.0 or sampling.min_p > 0.0
        ]
        if not rows:
            return None
        has_nucleus = any(samplings[row].top_p < 1.0 for row in rows)
        # To see on the host whether fewer do would take longer on a GPU than to have all in order.
        nucleus = NUCLEUS if device.type == "cpu" else vocabulary
        width = max(nucleus if has_nucleus else 0, *(ranks[row] + 1 for row in rows))

        def column(values: list[float], dtype: torch.dtype) -> torch.Tensor:
            return torch.tensor(values, dtype=dtype, device=device)[:, None]

        return cls(
            None if len(rows) == len(samplings) else torch.tensor(rows, device=device),
            min(width, vocabulary),
            column([ranks[row] for row in rows], torch.int64),
            column([samplings[row].top_p for row in rows], torch.float64),
            column([samplings[row].min_p for row in rows], torch.float32).log().clamp_min_(FLOOR),
            has_nucleus,
        )

    def apply(self, scaled: torch.Tensor) -> None:
        """Drop in place what is not drawn from; ``scaled`` are `log_weights`.

        Limits come in this order: min_p, top_k, top_p of what these left. Equals of the last token that stays, stay.
        """
        chosen = scaled if self.rows is None else scaled[self.rows]
        threshold = self.least
        if self.width:
            ordered = _highest(chosen, self.width)
            rank = ordered.gather(1, self.ranks.clamp_min(0))
            threshold = threshold.maximum(torch.where(self.ranks >= 0, rank, FLOOR))
        _drop(chosen, threshold)
        if self.has_nucleus:
            _drop(chosen, self._nucleus(chosen, _drop(ordered, threshold)))
        if self.rows is not None:
            scaled[self.rows] = chosen

    def _nucleus(self, scaled: torch.Tensor, ordered: torch.Tensor) -> torch.Tensor:
        """The least that each row's top_p keeps: ``[F, 1]``. ``ordered`` are the ``width`` highest of ``scaled``."""
        limit = _block_sums(scaled.exp()).sum(-1, keepdim=True) * self.nucleus
        least, reached = _least_kept(ordered, limit)
        limited = self.nucleus < 1.0
        width = self.width
        if width < scaled.shape[1]:
            further = (limited & ~reached)[:, 0].nonzero()[:, 0]
            while len(further) and width < scaled.shape[1]:
                width = min(16 * width, scaled.shape[1])
                least[further], reached = _least_kept(_highest(scaled[further], width), limit[further])
                further = further[~reached[:, 0]]
        return torch.where(limited, least, FLOOR)


def _drop(scaled: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """Set in place what is below each row's ``threshold`` ``[R, 1]`` to `FLOOR`."""
    # Arithmetic alone: comparing and filling take four times as long on a CPU.
    return scaled.add_((scaled - threshold).clamp_max_(0.0).mul_(1e38)).clamp_min_(FLOOR)


def _least_kept(ordered: torch.Tensor, limit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The last of ``ordered`` that is needed for a weight of ``limit``, and whether it is reached; both ``[F, 1]``."""
    weights = _whole(ordered.exp(), COARSE)
    cumulative = weights.cumsum(-1)
    # A token stays while those before it have not reached the limit yet.
    kept = (cumulative - weights < limit).sum(-1, keepdim=True).clamp_min_(1)
    return ordered.gather(1, kept - 1), cumulative[:, -1:] >= limit


def _highest(values: torch.Tensor, count: int) -> torch.Tensor:
    """The ``count`` highest of each row, in descending order."""
    if values.device.type != "cpu":
        return values.topk(count).values if count < values.shape[1] else values.sort(descending=True).values
    array = values.numpy()  # torch's own takes ten times as long there
    if count < array.shape[1]:
        array = np.partition(array, -count)[:, -count:]
    return torch.from_numpy(np.sort(array)).flip(-1)


def _invert(sums: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each row's cumulative ``sums`` pass the ``noise`` part of their total, and how far into it: ``[R, 1]``."""
    cumulative = sums.cumsum(-1)
    # Whole numbers: the target is below the total, however the products are rounded.
    target = (cumulative[:, -1:] * noise).floor_()
    # NaN is passed nowhere.
    index = torch.searchsorted(cumulative, target, right=True).clamp_max_(sums.shape[1] - 1)
    width = sums.gather(1, index)
    return index, (target - cumulative.gather(1, index) + width) / width


def _block_sums(weights: torch.Tensor) -> torch.Tensor:
    """Sums of 64 tokens, ``[R, blocks]``, that add up exactly."""
    return _whole(_blocks(weights).sum(-1), COARSE)


def _blocks(weights: torch.Tensor) -> torch.Tensor:
    """``[R, blocks, 64]``; the last block is filled up with zeros."""
    missing = -weights.shape[1] % BLOCK
    padded = torch.nn.functional.pad(weights, (0, missing)) if missing else weights
    return padded.view(len(weights), -1, BLOCK)


def _whole(weights: torch.Tensor, steps: float) -> torch.Tensor:
    """Weights in float64, as whole numbers of steps."""
    return (weights.double() * steps).round_()
