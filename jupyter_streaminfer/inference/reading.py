"""Texts that are read and not continued: embeddings, and how likely a continuation is.

A job's texts are sequences like any other, so they share steps and the prefix cache with generations; what is wanted
of them are the hidden states of their tokens.
"""

from __future__ import annotations

import math

import torch

from jupyter_streaminfer.inference.distribution import likeliest
from jupyter_streaminfer.inference.intake import Intake
from jupyter_streaminfer.inference.model import CausalModel
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.protocol import (
    Embedded,
    EmbedJob,
    JobEvent,
    Likelihood,
    ScoredTexts,
    ScoreJob,
)

LOGIT_ROWS = 64
"""Rows of logits computed at a time: of a whole prompt they would take more memory than the model."""


class Pool:
    """The mean of all rows, or the last one: ``[hidden]``."""

    def __init__(self, pooling: str, normalize: bool) -> None:
        self._mean = pooling == "mean"
        self._normalize = normalize
        self._sum: torch.Tensor | float = 0.0
        self._rows = 0

    def take(self, hidden: torch.Tensor, model: CausalModel) -> bool:
        """The next rows, ``[rows, hidden]``, in order; whether what is made of them is finite."""
        found = self._sum + hidden.sum(0, dtype=torch.float64) if self._mean else hidden[-1].double()
        self._sum = found
        self._rows = self._rows + len(hidden) if self._mean else 1
        return bool(found.isfinite().all())

    def vector(self) -> list[float]:
        """The embedding."""
        assert isinstance(self._sum, torch.Tensor)  # noqa: S101 (a text has a token at least)
        vector = self._sum / self._rows
        if self._normalize:
            vector = vector / vector.norm().clamp_min(torch.finfo(torch.float32).tiny)
        values: list[float] = vector.float().tolist()
        return values


class Judge:
    """The log-probability of each of ``targets``, the tokens after the rows."""

    def __init__(self, targets: list[int]) -> None:
        self._targets = targets
        self._logprobs: list[float] = []
        self._greedy = True

    def take(self, hidden: torch.Tensor, model: CausalModel) -> bool:
        """See `Pool.take`."""
        for row in range(0, len(hidden), LOGIT_ROWS):
            rows = hidden[row : row + LOGIT_ROWS]
            first = len(self._logprobs)
            targets = torch.tensor(self._targets[first : first + len(rows)], device=rows.device)
            logits = model.logits(rows)
            self._logprobs += logits.log_softmax(-1).gather(1, targets[:, None])[:, 0].tolist()
            self._greedy = self._greedy and bool((likeliest(logits) == targets).all())
        return math.isfinite(sum(self._logprobs))

    def likelihood(self) -> Likelihood:
        """The sum and its parts."""
        return Likelihood(sum(self._logprobs), self._logprobs, self._greedy)


class Reading:
    """One job's texts: their sequences by name, and what is read of each."""

    def __init__(self, job: EmbedJob | ScoreJob, intake: Intake) -> None:
        """Tokenise and check the texts; `StreaminferError` that names the first one that cannot be read."""
        self.job = job.job
        self.sequences: list[Sequence] = []
        self._readers: dict[str, Pool | Judge] = {}
        self._left = 0
        self.prompt_tokens = 0
        if isinstance(job, EmbedJob):
            for index, text in enumerate(job.request.inputs):
                token_ids = intake.given(text, f"inputs[{index}]")
                mean = job.request.pooling == "mean"
                self._add(token_ids, 0 if mean else None, Pool(job.request.pooling, job.request.normalize))
                self.prompt_tokens += len(token_ids)
        else:
            prompt = intake.given(job.request.prompt, "prompt")
            for index, text in enumerate(job.request.continuations):
                targets = intake.given(text, f"continuations[{index}]", special=False)
                token_ids = intake.joined(prompt, targets[:-1], f"continuations[{index}]")
                self._add(token_ids, len(prompt) - 1, Judge(targets))
                self.prompt_tokens += len(targets)
            self.prompt_tokens += len(prompt)

    def _add(self, token_ids: list[int], reads_from: int | None, reader: Pool | Judge) -> None:
        name = f"{self.job}#{len(self.sequences)}"
        self.sequences.append(Sequence(name, token_ids, 0, reads_from=reads_from))
        self._readers[name] = reader
        self._left += 1

    def take(self, name: str, hidden: torch.Tensor, model: CausalModel) -> bool:
        """The next rows of that sequence; whether what is made of them is finite."""
        return self._readers[name].take(hidden, model)

    def done(self) -> bool:
        """Note that one sequence was read to its end; whether it was the last."""
        self._left -= 1
        return self._left == 0

    def event(self) -> JobEvent:
        """The answer."""
        readers = list(self._readers.values())
        vectors = [reader.vector() for reader in readers if isinstance(reader, Pool)]
        if vectors:
            return Embedded(self.job, vectors, self.prompt_tokens)
        scores = [reader.likelihood() for reader in readers if isinstance(reader, Judge)]
        return ScoredTexts(self.job, scores, self.prompt_tokens)
