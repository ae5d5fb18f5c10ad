"""A draw depends on its own row, seed and position alone; and what comes beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from jupyter_streaminfer.inference.sampler import Draw, Sampler

from .draws import CPU, sample, sequence_of

ALL: dict[str, Any] = {
    "temperature": 0.7,
    "top_k": 5,
    "top_p": 0.9,
    "min_p": 0.01,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {2: 1.0},
    "min_tokens": 2,
    "stop_ids": frozenset([3]),
    "logprobs": 2,
}
MIXED = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**63 - 1), "temperature": st.sampled_from([0.0, 0.5, 1.0, 2.0])},
    optional={
        "top_k": st.integers(0, 600),
        "top_p": st.sampled_from([0.1, 0.9, 0.999]),
        "min_p": st.sampled_from([0.01, 0.5]),
        "repetition_penalty": st.just(1.2),
        "frequency_penalty": st.just(0.3),
        "logit_bias": st.just({3: 2.0}),
        "logprobs": st.sampled_from([0, 1, 20]),
    },
)


@given(rows=st.lists(MIXED, min_size=1, max_size=8), vocabulary=st.sampled_from([64, 500]), seed=st.integers(0, 100))
def test_rows_are_independent(rows: list[dict[str, Any]], vocabulary: int, seed: int) -> None:
    logits = torch.randn(len(rows), vocabulary, generator=torch.Generator().manual_seed(seed)) * 3
    sequences = [
        sequence_of(str(index), prompt=(1,) * (index + 1), answer=(2, 3), **row) for index, row in enumerate(rows)
    ]
    together = sample(logits, sequences)
    alone = [sample(logits[index : index + 1], [sequence])[0] for index, sequence in enumerate(sequences)]
    assert together == alone
    reverse = sample(logits.flip(0), sequences[::-1])
    assert together == reverse[::-1]


@pytest.mark.parametrize("vocabulary", [5003, 40_000])
def test_rows_are_independent_however_many_threads_compute_them(vocabulary: int) -> None:
    logits = torch.randn(32, vocabulary, generator=torch.Generator().manual_seed(3))
    fields: list[dict[str, Any]] = [{}, {"temperature": 0.8, "top_p": 0.99}, {"top_k": 50, "logprobs": 3}]
    sequences = [sequence_of(str(index), seed=index, **fields[index % 3]) for index in range(32)]
    threads = torch.get_num_threads()
    alone = [sample(logits[index : index + 1], [sequence])[0] for index, sequence in enumerate(sequences)]
    try:
        torch.set_num_threads(3)
        assert sample(logits, sequences) == alone
        assert [sample(logits[i : i + 1], [one])[0] for i, one in enumerate(sequences)] == alone
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {}, ALL])
@pytest.mark.parametrize("broken", [{2: math.nan}, {3: math.nan}, {2: math.inf}, dict.fromkeys(range(8), -math.inf)])
def test_a_row_that_is_not_finite_is_none(fields: dict[str, Any], broken: Mapping[int, float]) -> None:
    logits = torch.zeros(3, 8)
    logits[:, 5] = 50.0
    for token, value in broken.items():
        logits[1, token] = value
    draws = sample(logits, [sequence_of(str(index), **fields) for index in range(3)])
    assert [draw.token for draw in draws] == [5, None, 5]
    assert draws[1] == Draw(None)


def test_tokens_that_are_impossible_are_not_drawn() -> None:
    logits = torch.full((50, 200), -math.inf)
    logits[:, 70] = logits[:, 130] = -3.0
    draws = sample(logits, [sequence_of(str(seed), seed=seed) for seed in range(50)])
    assert {draw.token for draw in draws} == {70, 130}


def test_nothing_is_left_to_choose_when_all_tokens_would_end_the_answer() -> None:
    fields = {"min_tokens": 1, "stop_ids": frozenset(range(4))}
    assert sample(torch.zeros(1, 4), [sequence_of(**fields)]) == [Draw(None)]


@pytest.mark.parametrize("fields", [{}, ALL, {"temperature": 0.0, "logit_bias": {0: 100.0}}])
def test_logprobs_are_those_of_the_model(fields: dict[str, Any]) -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(4))
    counts = (0, 3, None)
    sequences = [sequence_of(str(i), **{**fields, "logprobs": count}) for i, count in enumerate(counts)]
    expected = logits.log_softmax(-1)
    none, three, without = sample(logits, sequences)
    for row, draw in enumerate((none, three)):
        assert draw.token is not None
        assert draw.logprob == pytest.approx(float(expected[row, draw.token]))
    assert none.top == []
    best = expected[1].topk(3)
    assert [token for token, _ in three.top] == best.indices.tolist()
    assert [logprob for _, logprob in three.top] == pytest.approx(best.values.tolist())
    assert (without.logprob, without.top) == (None, [])


def test_logprobs_of_a_vocabulary_smaller_than_asked_for() -> None:
    [draw] = sample(torch.zeros(1, 4), [sequence_of(logprobs=20)])
    assert sorted(token for token, _ in draw.top) == [0, 1, 2, 3]


def test_a_stream_is_the_same_in_company_and_after_a_break() -> None:
    """Arrivals, departures and absences of others, and its own absence, as after a preemption, change nothing."""
    table = torch.randn(30, 30, generator=torch.Generator().manual_seed(6)) * 2  # the next logits after each token

    def run(batches: list[list[int]]) -> list[list[int]]:
        sampler = Sampler(30, CPU)
        sequences = [sequence_of(str(index), prompt=(index, 7), **ALL | {"seed": index}) for index in range(4)]
        for sequence in sequences:
            sampler.add(sequence)
        for batch in batches:
            chosen = [sequences[index] for index in batch]
            logits = torch.stack([table[sequence.token_ids[-1]] for sequence in chosen])
            for sequence, draw in zip(chosen, sampler.sample(logits, chosen).read(), strict=True):
                assert draw.token is not None
                sequence.token_ids.append(draw.token)
        for sequence in sequences:
            sampler.remove(sequence.job)
        assert len(sampler) == 0
        return [sequence.token_ids for sequence in sequences]

    alone = run([[index] for index in range(4) for _ in range(12)])
    together = run([[0, 1, 2, 3]] * 12)
    broken = run([[0, 1], [1, 0], [0, 1]] + [[2, 3, 1]] * 4 + [[3, 2]] * 8 + [[0]] * 3 + [[0, 1]] * 5 + [[0]])
    assert alone == together == broken


def test_min_tokens_end_in_the_middle_of_a_batch_that_stays_the_same() -> None:
    sampler = Sampler(4, CPU)
    sequences = [
        sequence_of(str(least), temperature=0.0, stop_ids=frozenset([2]), min_tokens=least) for least in (0, 2, 4)
    ]
    for _ in range(5):
        for sequence, draw in zip(
            sequences, sampler.sample(torch.tensor([[0.0, 1, 2, 0]] * 3), sequences).read(), strict=True
        ):
            assert draw.token is not None
            sequence.token_ids.append(draw.token)
    answers = [sequence.token_ids[1:] for sequence in sequences]
    assert answers == [[2] * 5, [1, 1, 2, 2, 2], [1, 1, 1, 1, 2]]


class Operations(TorchDispatchMode):
    """Counts what torch is told to do."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **kwargs or {})


@pytest.mark.parametrize(("temperature", "limit"), [(0.0, 15), (0.8, 60)])
def test_a_plain_batch_that_stays_the_same_takes_few_operations(temperature: float, limit: int) -> None:
    sequences = [sequence_of(str(seed), seed=seed, temperature=temperature) for seed in range(32)]
    sampler, logits = Sampler(128, CPU), torch.zeros(32, 128)
    sampler.sample(logits, sequences)
    with Operations() as operations:
        sampler.sample(logits, sequences)
    assert operations.count <= limit


def test_an_empty_batch_draws_nothing() -> None:
    assert Sampler(8, CPU).sample(torch.zeros(0, 8), []).read() == []
