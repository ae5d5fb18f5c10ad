"""The next token of every row of a step, for the whole batch at once.

In this order: log-probabilities, logit bias, penalties, temperature, min_p, top_k, top_p, the draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from msgspec import Struct

from jupyter_streaminfer.inference.bias import Bias, changes_at
from jupyter_streaminfer.inference.distribution import Filters, draw, greedy, likeliest, log_weights
from jupyter_streaminfer.inference.noise import UInt64, noise_keys, uniform
from jupyter_streaminfer.inference.penalties import Penalties, PenaltyRows
from jupyter_streaminfer.inference.readback import Copies, Readback
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.inference.staging import upload
from jupyter_streaminfer.protocol import MAX_LOGPROBS


class Draw(Struct, frozen=True, gc=False):
    """A row's next token; None where its logits are not finite, or nothing that may be chosen is left."""

    token: int | None
    logprob: float | None = None
    top: list[tuple[int, float]] = []
    """Token ids and their log-probabilities, the likeliest first."""


class Draws(Struct, frozen=True, gc=False):
    """What a step drew for its ``R`` rows."""

    tokens: torch.Tensor
    """``[R]`` int64 on the device: -1 where there is none."""
    copies: Copies
    """Of the tokens; where rows are ``scored`` also of their log-probabilities, and of the likeliest ids and theirs."""
    scored: list[tuple[int, int]]
    """The rows that want log-probabilities, and of how many tokens."""

    def read(self) -> list[Draw]:
        """Each row's draw; waits for a device that is not that far yet."""
        tokens, *scores = (tensor.tolist() for tensor in self.copies.wait())
        draws = [Draw(token if token >= 0 else None) for token in tokens]
        for (row, count), own, ids, values in zip(self.scored, *scores, strict=True) if scores else ():
            if (token := draws[row].token) is not None:
                draws[row] = Draw(token, own, list(zip(ids[:count], values[:count], strict=True)))
        return draws


class Known(Struct, frozen=True, gc=False):
    """The same where the host chose them itself, and nothing else was asked of it."""

    token_ids: list[int]
    """``[R]``, -1 where there is none."""

    @property
    def tokens(self) -> torch.Tensor:
        """See `Draws.tokens`."""
        return torch.tensor(self.token_ids)

    def read(self) -> list[Draw]:
        """See `Draws.read`."""
        return [Draw(token if token >= 0 else None) for token in self.token_ids]


@dataclass(frozen=True, slots=True)
class _DrawnRows:
    """The ``D`` rows of a batch that are drawn; the others are greedy."""

    rows: torch.Tensor | None
    """``[D]``; None where they are all of it."""
    sequences: list[Sequence]
    keys: UInt64
    temperature: torch.Tensor | None
    """``[D, 1]``; None where all are 1."""
    filters: Filters | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """The parameters of a batch as tensors: good for as long as the same sequences make it up."""

    sequences: list[Sequence]
    changes: list[tuple[Sequence, int]]
    """The plan is void when one of these has so many tokens: its ``min_tokens`` are reached."""
    bias: Bias | None
    penalties: PenaltyRows | None
    drawn: _DrawnRows | None
    scored: list[int]
    """The rows that want log-probabilities."""
    plain: bool
    """Whether each row's token is its likeliest, and nothing else is asked."""

    def holds(self, sequences: list[Sequence]) -> bool:
        if self.sequences != sequences:
            return False
        return not (self.changes and any(one.length >= at for one, at in self.changes))


class Sampler:
    """Draws for all sequences of a model; each is added before its first draw and removed after its last."""

    def __init__(self, vocabulary: int, device: torch.device) -> None:
        self._vocabulary = vocabulary
        self._device = device
        self._on_host = device.type == "cpu"
        self._penalties = Penalties(device)
        self._readback = Readback(device)
        self._plan: _Plan | None = None

    def __len__(self) -> int:
        """Sequences of which something is kept."""
        return len(self._penalties)

    def add(self, sequence: Sequence) -> None:
        """Make known a sequence; it costs no memory until its first draw."""
        self._penalties.add(sequence)

    def remove(self, job: str) -> None:
        """Forget a sequence, if it is known."""
        self._penalties.remove(job)
        self._plan = None

    def counts(self, job: str) -> bool:
        """Whether a sequence's draw depends on what all of its tokens are, so that the host has to know them first."""
        return job in self._penalties

    def sample(self, logits: torch.Tensor, sequences: list[Sequence]) -> Draws | Known:
        """The next token of each sequence from its row of ``logits`` ``[R, vocabulary]`` float32.

        ``logits`` are used up. A row's draw is the same whatever the other rows hold, to the last bit.
        """
        if self._plan is None or not self._plan.holds(sequences):
            self._plan = self._plan_for(sequences)
        if self._plan.plain and self._on_host:
            return Known(greedy(logits))
        return self._sample(logits, sequences, self._plan)

    @torch.inference_mode()
    def _sample(self, logits: torch.Tensor, sequences: list[Sequence], plan: _Plan) -> Draws:
        scores = logits[plan.scored].log_softmax(-1) if plan.scored else None
        if plan.bias is not None:
            plan.bias.apply(logits)
        if plan.penalties is not None:
            self._penalties.apply(logits, plan.penalties)
        tokens = self._choose(logits, plan.drawn)
        results = [tokens]
        if scores is not None:
            own = scores.gather(1, tokens[plan.scored].clamp_min_(0)[:, None])[:, 0]
            # As many for each, so that it does not matter to equals what the other rows want.
            best = scores.topk(min(MAX_LOGPROBS, self._vocabulary))
            results += [own, best.indices, best.values]
        scored = [(row, sequences[row].sampling.logprobs or 0) for row in plan.scored]
        return Draws(tokens, self._readback.begin(results), scored)

    def _choose(self, logits: torch.Tensor, drawn: _DrawnRows | None) -> torch.Tensor:
        """``[R]``: token ids, and -1 where there is none."""
        tokens = likeliest(logits)
        best = logits.gather(1, tokens[:, None])
        if drawn is not None and drawn.rows is None:
            tokens = self._draw(logits, best, drawn)
        elif drawn is not None:
            tokens[drawn.rows] = self._draw(logits[drawn.rows], best[drawn.rows], drawn)
        # Infinity and NaN are not below infinity; NaN anywhere in a row is its best.
        return torch.where(best[:, 0].abs() < torch.inf, tokens, -1)

    def _draw(self, logits: torch.Tensor, best: torch.Tensor, drawn: _DrawnRows) -> torch.Tensor:
        scaled = log_weights(logits, best, drawn.temperature)
        if drawn.filters is not None:
            drawn.filters.apply(scaled)
        positions = np.array([sequence.length for sequence in drawn.sequences])
        noise = upload(uniform(drawn.keys, positions), self._device)
        return draw(scaled, noise[:, None])

    @torch.inference_mode()
    def _plan_for(self, sequences: list[Sequence]) -> _Plan:
        bias = Bias.of(sequences, self._vocabulary, self._device)
        penalties = self._penalties.rows(sequences)
        drawn = self._drawn_rows(sequences)
        scored = [row for row, sequence in enumerate(sequences) if sequence.sampling.logprobs is not None]
        return _Plan(
            list(sequences),
            [(sequence, at) for sequence in sequences if (at := changes_at(sequence)) is not None],
            bias,
            penalties,
            drawn,
            scored,
            plain=bias is None and penalties is None and drawn is None and not scored,
        )

    def _drawn_rows(self, sequences: list[Sequence]) -> _DrawnRows | None:
        rows = [row for row, sequence in enumerate(sequences) if sequence.sampling.temperature > 0.0]
        if not rows:
            return None
        chosen = [sequences[row] for row in rows]
        samplings = [sequence.sampling for sequence in chosen]
        temperature = torch.tensor([sampling.temperature for sampling in samplings], device=self._device)[:, None]
        return _DrawnRows(
            None if len(rows) == len(sequences) else torch.tensor(rows, device=self._device),
            chosen,
            noise_keys([sampling.seed for sampling in samplings]),
            None if bool((temperature == 1.0).all()) else temperature,
            Filters.of(samplings, self._vocabulary, self._device),
        )
