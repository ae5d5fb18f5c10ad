"""The next token of every row of a step.

The noise of a draw is a hash of the sequence's seed and the position that the token will have, so it does not
depend on who else is in the batch, and a resumed stream continues exactly.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import torch

from jupyter_streaminfer.inference.sequence import Sampling

NUCLEUS = 256
"""Tokens that are looked at first for top_p; sorting the whole vocabulary is many times dearer and rarely needed."""
MASK = 2**64 - 1


def uniform(seed: int, position: int) -> float:
    """The noise of ``position`` in the stream of ``seed``: in [0, 1), from two rounds of SplitMix64."""
    return (_mix(_mix(seed & MASK) + position * 0x9E3779B97F4A7C15) >> 40) * 2.0**-24


def _mix(value: int) -> int:
    """Steele, Lea and Flood: Fast splittable pseudorandom number generators (2014), with Stafford's constants."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


@torch.inference_mode()
def sample(logits: torch.Tensor, rows: Seq[Sampling], positions: Seq[int]) -> list[int | None]:
    """A token id for each row of ``logits`` ``[R, vocabulary]``; None where its logits are not finite.

    ``positions[r]`` is the index that row r's token gets in its sequence.
    """
    best, likeliest = logits.max(-1)
    tokens = likeliest.tolist()
    drawn = [row for row, sampling in enumerate(rows) if sampling.temperature > 0]
    if drawn:
        chosen = logits if len(drawn) == len(rows) else logits[drawn]
        noise = [uniform(rows[row].seed, positions[row]) for row in drawn]
        for row, token in zip(drawn, _draw(chosen, [rows[row] for row in drawn], noise), strict=True):
            tokens[row] = token
    return [token if fine else None for token, fine in zip(tokens, best.isfinite().tolist(), strict=True)]


def _draw(logits: torch.Tensor, rows: list[Sampling], noise: list[float]) -> list[int]:
    """Invert each row's cumulative distribution, filtered and in the vocabulary's order, at its noise."""
    temperature = torch.tensor([row.temperature for row in rows], device=logits.device)[:, None]
    # Shifted first: a tiny temperature then makes the others -inf and not the best one inf.
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperature.clamp_min(torch.finfo(torch.float32).tiny)
    _limit_top_k(scaled, [row.top_k for row in rows])
    probabilities = scaled.softmax(-1)
    _limit_top_p(probabilities, [row.top_p for row in rows])
    cumulative = probabilities.cumsum(-1)
    target = torch.tensor(noise, device=logits.device)[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, target, right=True)
    # Rounding may carry the target past the end; the last token that has any probability is meant then.
    last = torch.searchsorted(cumulative, cumulative[:, -1:].contiguous())
    return torch.minimum(tokens, last)[:, 0].tolist()


def _limit_top_k(scaled: torch.Tensor, limits: list[int]) -> None:
    """Drop in place what is less likely than each row's k-th likeliest; equals of it stay."""
    vocabulary = scaled.shape[1]
    rows = [row for row, k in enumerate(limits) if 0 < k < vocabulary]
    if not rows:
        return
    ranks = torch.tensor([limits[row] - 1 for row in rows], device=scaled.device)
    chosen = scaled[rows]
    threshold = chosen.topk(int(ranks.max()) + 1).values.gather(1, ranks[:, None])
    scaled[rows] = chosen.masked_fill_(chosen < threshold, -torch.inf)


def _limit_top_p(probabilities: torch.Tensor, limits: list[float]) -> None:
    """Drop in place what comes after the likeliest tokens that together reach each row's p."""
    rows = [row for row, p in enumerate(limits) if p < 1.0]
    if not rows:
        return
    chosen = probabilities[rows]
    limit = torch.tensor([limits[row] for row in rows], device=chosen.device)[:, None]
    ordered = chosen.topk(min(NUCLEUS, chosen.shape[1])).values
    if bool((ordered.sum(-1, keepdim=True) < limit).any()):
        ordered = chosen.sort(descending=True).values
    # A token stays while those before it have not reached p yet.
    kept = (ordered.cumsum(-1) - ordered < limit).sum(-1, keepdim=True).clamp_min(1)
    threshold = ordered.gather(1, kept - 1)
    probabilities[rows] = chosen.masked_fill_(chosen < threshold, 0.0)
