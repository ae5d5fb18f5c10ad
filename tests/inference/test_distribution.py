"""Draws follow the distribution that the request describes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jupyter_streaminfer.inference.noise import noise_keys, uniform
from jupyter_streaminfer.inference.sequence import Sequence

from .draws import sample, sequence_of


def weights(logits: list[float], sequence: Sequence) -> list[float]:
    """What each token's probability is proportional to, one by one as the protocol defines it."""
    sampling, answer = sequence.sampling, Counter(sequence.token_ids[sequence.prompt_tokens :])
    values = []
    for token, logit in enumerate(logits):
        value = logit + sampling.logit_bias.get(token, 0.0)
        if token in sampling.stop_ids and sequence.generated < sampling.min_tokens:
            value = -math.inf
        if token in sequence.token_ids:
            value = value / sampling.repetition_penalty if value > 0 else value * sampling.repetition_penalty
        values.append(
            value - sampling.frequency_penalty * answer[token] - sampling.presence_penalty * (answer[token] > 0)
        )
    best = max(values)
    if sampling.temperature == 0.0:
        return [float(token == values.index(best)) for token in range(len(values))]
    left = [math.exp((value - best) / sampling.temperature) for value in values]
    left = [weight if weight >= sampling.min_p else 0.0 for weight in left]
    if sampling.top_k:
        least = sorted(left, reverse=True)[: sampling.top_k][-1]
        left = [weight if weight >= least else 0.0 for weight in left]
    if sampling.top_p < 1.0:
        reached, least = 0.0, math.inf
        for weight in sorted(left, reverse=True):
            if reached >= sampling.top_p * sum(left):
                break
            reached, least = reached + weight, weight
        left = [weight if weight >= least else 0.0 for weight in left]
    return left


def assert_follows(tokens: list[int | None], expected: list[float]) -> None:
    """Pearson's test at p = 0.001; what has no probability must not occur at all."""
    counts, total = Counter(tokens), sum(expected)
    assert all(expected[token] > 0 for token in counts if token is not None)
    parts = [(counts[token], len(tokens) * weight / total) for token, weight in enumerate(expected) if weight > 0]
    statistic, freedom = sum((found - mean) ** 2 / mean for found, mean in parts), len(parts) - 1
    if freedom:  # Wilson and Hilferty's approximation of the quantile
        assert statistic < freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 0.5}, [16, 9, 4, 1]),
        ({"temperature": 1e-30}, [1, 0, 0, 0]),
        ({"temperature": 1e-45}, [1, 0, 0, 0]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [4, 3, 0, 0]),
        ({"top_k": 9}, [4, 3, 2, 1]),
        ({"top_p": 0.75}, [4, 3, 2, 0]),
        ({"top_p": 1e-9}, [1, 0, 0, 0]),
        ({"min_p": 0.6}, [4, 3, 0, 0]),
        ({"min_p": 1.0}, [1, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.5}, [4, 3, 0, 0]),
        ({"min_p": 0.3, "top_p": 0.7}, [4, 3, 0, 0]),
        ({"min_p": 0.6, "top_k": 3, "temperature": 0.5}, [1, 0, 0, 0]),
        ({"logit_bias": {0: -100.0, 3: math.log(3)}}, [0, 3, 2, 3]),
        ({"stop_ids": frozenset([0, 1]), "min_tokens": 3}, [0, 0, 2, 1]),
        ({"stop_ids": frozenset([0, 1]), "min_tokens": 2}, [4, 3, 2, 1]),
        ({"presence_penalty": math.log(2)}, [2, 3, 2, 1]),
        ({"frequency_penalty": math.log(2)}, [1, 3, 2, 1]),
        ({"repetition_penalty": 2.0, "temperature": 0.5}, [0.4**4, 0.3**2, 0.2**4, 0.1**2]),
    ],
)
def test_frequencies(fields: dict[str, Any], expected: list[float]) -> None:
    """Tokens in the order of 2, 0, 3, 1; the prompt has the third likeliest, the answer twice the likeliest."""
    order, count = [2, 0, 3, 1], 4000
    if "logit_bias" in fields:
        fields = fields | {"logit_bias": {order.index(token): bias for token, bias in fields["logit_bias"].items()}}
    if "stop_ids" in fields:
        fields = fields | {"stop_ids": frozenset(order.index(token) for token in fields["stop_ids"])}
    sequences = [
        sequence_of(str(seed), prompt=(order.index(2),), answer=(order.index(0),) * 2, seed=seed, **fields)
        for seed in range(count)
    ]
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()[order]
    tokens = [draw.token for draw in sample(logits.expand(count, -1), sequences)]
    assert_follows(tokens, [expected[token] for token in order])


@pytest.mark.parametrize("fields", [{}, {"temperature": 0.7, "top_p": 0.95}, {"min_p": 0.02, "top_k": 150}])
def test_frequencies_over_a_larger_vocabulary(fields: dict[str, Any]) -> None:
    """One that is no multiple of a block, drawn at many positions of one seed."""
    logits = torch.randn(333, generator=torch.Generator().manual_seed(1))
    sequences = [sequence_of(str(length), prompt=(0,) * length, seed=5, **fields) for length in range(1, 6001)]
    tokens = [draw.token for draw in sample(logits.expand(len(sequences), -1), sequences)]
    assert_follows(tokens, weights(logits.tolist(), sequences[0]))


@given(
    logits=st.lists(st.integers(-12, 12).map(lambda quarters: quarters / 4), min_size=5, max_size=150),
    prompt=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    answer=st.lists(st.integers(0, 4), max_size=6),
    fields=st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.sampled_from([0.0, 0.3, 1.0, 5.0]),
            "top_k": st.integers(0, 200),
            "top_p": st.sampled_from([0.0131, 0.371, 0.713, 0.971]),
            "min_p": st.sampled_from([0.0, 0.0123, 0.123, 1.0]),
            "repetition_penalty": st.sampled_from([0.5, 1.7]),
            "presence_penalty": st.sampled_from([-1.1, 1.3]),
            "frequency_penalty": st.sampled_from([-0.3, 0.7]),
            "logit_bias": st.dictionaries(st.integers(0, 4), st.sampled_from([-100.0, -0.7, 3.3]), max_size=3),
            "stop_ids": st.frozensets(st.integers(0, 3) | st.just(10_000), max_size=3),
            "min_tokens": st.integers(0, 6),
        },
    ),
    seed=st.integers(0, 2**63 - 1),
)
def test_a_draw_inverts_the_distribution_of_the_definition(
    logits: list[float], prompt: list[int], answer: list[int], fields: dict[str, Any], seed: int
) -> None:
    sequence = sequence_of(prompt=tuple(prompt), answer=tuple(answer), seed=seed, **fields)
    [draw] = sample(torch.tensor([logits]), [sequence])
    token = draw.token
    assert token is not None
    expected = weights(logits, sequence)
    assert expected[token] > 0
    # The token's part of the distribution, in the vocabulary's order, holds the noise.
    [noise] = uniform(noise_keys([seed]), np.array([len(sequence.token_ids)]))
    below, total = sum(expected[:token]), sum(expected)
    if sequence.sampling.temperature:
        assert below - 1e-5 * total <= noise * total <= below + expected[token] + 1e-5 * total


def test_wide_nucleus_is_exact_beyond_the_first_look() -> None:
    """top_p looks at the likeliest few hundred tokens first; a flat distribution reaches beyond them."""
    logits = torch.linspace(0, 1e-3, 9000)
    for top_p, least in ((0.5, 4500), (0.1, 8100), (0.9, 900)):
        sequences = [sequence_of(str(seed), seed=seed, top_p=top_p) for seed in range(200)]
        tokens = [draw.token for draw in sample(logits.expand(200, -1), sequences)]
        assert least - 20 < min(token for token in tokens if token is not None) < least + 300


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e4, 1e37])
@pytest.mark.parametrize("fields", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-6}, {"temperature": 1e-40}])
def test_the_tightest_limits_are_greedy(fields: dict[str, Any], scale: float) -> None:
    logits = torch.randn(20, 100, generator=torch.Generator().manual_seed(2)) * scale
    sequences = [sequence_of(str(seed), seed=seed, **fields) for seed in range(20)]
    assert [draw.token for draw in sample(logits, sequences)] == logits.argmax(-1).tolist()
