"""Penalties follow the tokens of each sequence through any schedule, and leave nothing behind."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.penalties import Penalties
from jupyter_streaminfer.inference.sequence import Sampling, Sequence

VOCABULARY = 12
TOKENS = st.integers(0, VOCABULARY - 1)
SAMPLINGS = st.builds(
    Sampling,
    repetition_penalty=st.sampled_from([1.0, 0.5, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.7, -2.0]),
    frequency_penalty=st.sampled_from([0.0, 0.25, -1.0]),
)


def penalised(logits: list[float], sequence: Sequence) -> list[float]:
    """By definition, token by token."""
    sampling, answer = sequence.sampling, Counter(sequence.token_ids[sequence.prompt_tokens :])
    values = []
    for token, logit in enumerate(logits):
        value = logit
        if token in sequence.token_ids:
            value = value / sampling.repetition_penalty if value > 0 else value * sampling.repetition_penalty
        value -= sampling.frequency_penalty * answer[token]
        values.append(value - sampling.presence_penalty * (answer[token] > 0))
    return values


def apply(penalties: Penalties, logits: torch.Tensor, batch: list[Sequence]) -> torch.Tensor:
    rows = penalties.rows(batch)
    if rows is not None:
        penalties.apply(logits, rows)
    return logits


@given(
    sequences=st.lists(st.tuples(st.lists(TOKENS, min_size=1, max_size=9), SAMPLINGS), min_size=1, max_size=6),
    steps=st.lists(st.lists(st.tuples(st.integers(0, 5), TOKENS), max_size=6, unique_by=lambda pair: pair[0])),
)
def test_equals_the_definition_in_any_schedule(
    sequences: list[tuple[list[int], Sampling]], steps: list[list[tuple[int, int]]]
) -> None:
    """Each step draws for some sequences in any order: they come, go away and come back."""
    penalties = Penalties(torch.device("cpu"))
    known = [Sequence(str(index), list(prompt), 99, sampling) for index, (prompt, sampling) in enumerate(sequences)]
    for sequence in known:
        penalties.add(sequence)
    generator = torch.Generator().manual_seed(0)
    for step in steps:
        chosen = [(known[index], token) for index, token in step if index < len(known)]
        batch = [sequence for sequence, _ in chosen]
        logits = torch.randn(len(batch), VOCABULARY, generator=generator)
        expected = [penalised(row.tolist(), sequence) for row, sequence in zip(logits, batch, strict=True)]
        torch.testing.assert_close(apply(penalties, logits, batch), torch.tensor(expected).reshape(logits.shape))
        for sequence, token in chosen:
            sequence.token_ids.append(token)
    for sequence in known:
        penalties.remove(sequence.job)
    assert (len(penalties), penalties.bytes) == (0, 0)


def test_a_slot_that_is_used_again_remembers_nothing() -> None:
    penalties, sampling = Penalties(torch.device("cpu")), Sampling(repetition_penalty=2.0, frequency_penalty=1.0)
    stays, first, second = (
        Sequence(job, list(prompt), 9, sampling) for job, prompt in (("a", [0]), ("b", [1, 2, 3]), ("c", [4]))
    )
    for sequence in (stays, first):
        penalties.add(sequence)
    first.token_ids += [2, 2]
    apply(penalties, torch.ones(2, 6), [stays, first])
    penalties.remove("b")
    penalties.add(second)
    found = apply(penalties, torch.ones(2, 6), [second, stays])
    assert found.tolist() == [[1, 1, 1, 1, 0.5, 1], [0.5, 1, 1, 1, 1, 1]]


def test_memory_is_for_what_is_drawn_and_not_for_what_waits() -> None:
    penalties, sampling = Penalties(torch.device("cpu")), Sampling(presence_penalty=1.0)
    waiting = [Sequence(str(index), [*range(5000)], 9, sampling) for index in range(100)]
    for sequence in waiting:
        penalties.add(sequence)
    assert penalties.bytes == 0
    apply(penalties, torch.zeros(1, 5000), waiting[:1])
    assert 0 < penalties.bytes < 2**20
    for sequence in waiting:
        penalties.remove(sequence.job)
    assert penalties.bytes == 0


def test_neutral_sequences_are_not_known() -> None:
    penalties = Penalties(torch.device("cpu"))
    penalties.add(Sequence("a", [1], 9))
    assert len(penalties) == 0
    assert penalties.rows([Sequence("a", [1], 9)]) is None
    penalties.remove("a")
