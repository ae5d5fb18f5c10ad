"""Sequences to draw for, in one line each."""

from __future__ import annotations

from typing import Any

import torch

from jupyter_streaminfer.inference.sampler import Draw, Sampler
from jupyter_streaminfer.inference.sequence import Sampling, Sequence

CPU = torch.device("cpu")


def sequence_of(
    job: str = "job", *, prompt: tuple[int, ...] = (0,), answer: tuple[int, ...] = (), **fields: Any
) -> Sequence:
    sequence = Sequence(job, list(prompt), 1000, Sampling(**fields))
    sequence.token_ids += answer
    return sequence


def sample(logits: torch.Tensor, sequences: list[Sequence]) -> list[Draw]:
    """The first draws of a fresh sampler."""
    sampler = Sampler(logits.shape[1], CPU)
    for sequence in sequences:
        sampler.add(sequence)
    return sampler.sample(logits.clone(), sequences).read()
