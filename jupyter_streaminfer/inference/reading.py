"""Texts that are read and not continued: embeddings, and how likely a continuation is.

A job's texts are sequences like any other, so they share steps and the prefix cache with generations; what is wanted
of them are the hidden states of their tokens.
"""

from __future__ import annotations

import logging
import math

import torch

from jupyter_streaminfer.inference.distribution import likeliest
from jupyter_streaminfer.inference.faults import device_lost
from jupyter_streaminfer.inference.intake import Intake
from jupyter_streaminfer.inference.model import CausalModel
from jupyter_streaminfer.inference.scheduler import Scheduler
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.protocol import (
    Embedded,
    EmbedJob,
    JobEvent,
    Likelihood,
    ScoredTexts,
    ScoreJob,
    StreaminferError,
)

log = logging.getLogger(__name__)

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
        self._client = job.client
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
        self.sequences.append(Sequence(name, token_ids, 0, client=self._client, reads_from=reads_from))
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


class Readings:
    """The jobs whose texts are being read; their texts wait and run in the scheduler."""

    def __init__(self, intake: Intake, scheduler: Scheduler, model: CausalModel) -> None:
        self._intake = intake
        self._scheduler = scheduler
        self._model = model
        self._readings: dict[str, Reading] = {}
        self._reading_of: dict[str, Reading] = {}
        """The same by the names of their sequences."""

    def __contains__(self, job: str) -> bool:
        return job in self._readings

    @property
    def jobs(self) -> list[str]:
        """Their ids."""
        return list(self._readings)

    def job_of(self, sequence: Sequence) -> str:
        """The job that a sequence belongs to, a generation's sequence being named as its job is."""
        reading = self._reading_of.get(sequence.job)
        return sequence.job if reading is None else reading.job

    def submit(self, job: EmbedJob | ScoreJob) -> None:
        """Queue all of a job's texts; `StreaminferError` where one cannot be read or they have no room, and none is."""
        if isinstance(job, EmbedJob):
            field, count = "inputs", len(job.request.inputs)
        else:
            field, count = "continuations", len(job.request.continuations)
        most = self._scheduler.capacity
        if count > most:
            message = f"{field} has {count} texts, and {most} fit at once; send them in parts of {most} at most"
            raise StreaminferError("too_large", message, field=field)
        reading = Reading(job, self._intake)
        self._scheduler.submit(*reading.sequences)
        self._readings[job.job] = reading
        self._reading_of |= {sequence.job: reading for sequence in reading.sequences}

    def take(self, sequence: Sequence, hidden: torch.Tensor) -> str | None:
        """Read the next rows of a sequence, unless its job was forgotten meanwhile; what is wrong with them, if so."""
        reading = self._reading_of.get(sequence.job)
        if reading is None or not len(hidden):
            return None
        try:
            finite = reading.take(sequence.job, hidden, self._model)
        except Exception as error:
            if device_lost(error):
                raise
            log.exception("A text could not be read")
            return f"The text could not be read: {type(error).__name__}: {error}"
        return None if finite else "the model's output for these texts is not finite"

    def finish(self, sequence: Sequence, events: list[JobEvent]) -> None:
        """Note what was computed of a sequence: its job is answered and forgotten when that was the last of it."""
        reading = self._reading_of.get(sequence.job)
        if reading is None or sequence.pending:
            return
        self._scheduler.remove(sequence.job)
        if reading.done():
            events.append(reading.event())
            self.remove(reading.job)

    def remove(self, job: str) -> list[str]:
        """Forget a job; the names of its sequences, none where it is unknown."""
        reading = self._readings.pop(job, None)
        names = [] if reading is None else [sequence.job for sequence in reading.sequences]
        for name in names:
            del self._reading_of[name]
        return names
