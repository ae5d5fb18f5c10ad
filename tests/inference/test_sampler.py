"""Draws follow the distribution that the request describes, and depend on seed and position alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_streaminfer.inference.sampler import sample, uniform
from jupyter_streaminfer.inference.sequence import Sampling

SEEDS = st.integers(0, 2**63 - 1)


@given(seed=SEEDS, position=st.integers(0, 2**21))
def test_noise_is_in_range_and_repeats(seed: int, position: int) -> None:
    value = uniform(seed, position)
    assert 0.0 <= value < 1.0
    assert uniform(seed, position) == value


@pytest.mark.parametrize("along", ["seeds", "positions"])
def test_noise_is_uniform_and_uncorrelated(along: str) -> None:
    count = 20_000
    values = torch.tensor([uniform(i, 7) if along == "seeds" else uniform(7, i) for i in range(count)])
    histogram = torch.histc(values, 20, 0, 1)
    chi_squared = ((histogram - count / 20) ** 2 / (count / 20)).sum()
    assert chi_squared < 43.8  # 19 degrees of freedom, p = 0.001
    correlation = torch.corrcoef(torch.stack([values[:-1], values[1:]]))[0, 1]
    assert abs(correlation) < 4 / count**0.5


def frequencies(logits: torch.Tensor, sampling: dict[str, float], count: int = 20_000) -> torch.Tensor:
    rows = [Sampling(seed=seed, **sampling) for seed in range(count)]  # type: ignore[arg-type]
    tokens = sample(logits.expand(count, -1), rows, [3] * count)
    return torch.bincount(torch.tensor(tokens), minlength=len(logits)) / count


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({"temperature": 1.0}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"temperature": 1.0, "top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"temperature": 1.0, "top_k": 9}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 1.0, "top_p": 0.75}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"temperature": 1.0, "top_p": 0.05}, [1, 0, 0, 0]),
        ({"temperature": 1.0, "top_k": 3, "top_p": 0.5}, [4 / 7, 3 / 7, 0, 0]),
        ({"temperature": 1e-30}, [1, 0, 0, 0]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
    ],
)
def test_frequencies(sampling: dict[str, float], expected: list[float]) -> None:
    order = torch.tensor([2, 0, 3, 1])
    probabilities = torch.tensor([0.4, 0.3, 0.2, 0.1])
    found = frequencies(torch.log(probabilities)[order], sampling)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float32)[order], atol=0.015)


def test_wide_nucleus_is_exact_beyond_the_first_look() -> None:
    """top_p looks at the likeliest few hundred tokens first; a flat distribution reaches beyond them."""
    logits = torch.linspace(0, 1e-3, 4000)
    found = {sample(logits[None], [Sampling(top_p=0.5, seed=seed)], [0])[0] for seed in range(3000)}
    assert min(token for token in found if token is not None) in range(1990, 2050)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.integers(0, 400), st.sampled_from([0.1, 0.9, 1.0]), SEEDS),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 100),
)
def test_rows_are_independent(rows: list[tuple[float, int, float, int]], seed: int) -> None:
    logits = torch.randn(len(rows), 350, generator=torch.Generator().manual_seed(seed)) * 3
    samplings = [Sampling(*row) for row in rows]
    positions = list(range(len(rows)))
    together = sample(logits, samplings, positions)
    apart = [sample(logits[i : i + 1], [samplings[i]], [i])[0] for i in positions]
    assert together == apart
    for row, token in enumerate(together):
        assert token is not None
        if samplings[row].temperature == 0:
            assert token == int(logits[row].argmax())
        if samplings[row].top_k:
            assert int((logits[row] > logits[row, token]).sum()) < samplings[row].top_k


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_is_none(temperature: float, broken: float) -> None:
    logits = torch.zeros(3, 8)
    logits[:, 5] = 50.0
    logits[1, 2] = broken
    assert sample(logits, [Sampling(temperature)] * 3, [0, 1, 2]) == [5, None, 5]
