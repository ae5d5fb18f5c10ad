from __future__ import annotations

from typing import Any

import pytest
import torch

from jupyter_streaminfer.inference.kv_cache import KVCache
from jupyter_streaminfer.inference.scheduler import Vacancy
from jupyter_streaminfer.protocol import StreaminferError

SLOT_BYTES = 2 * 10 * 2 * 3 * 4 * 4


def build(**changes: Any) -> KVCache:
    arguments: dict[str, Any] = {
        "layers": 2,
        "heads": 3,
        "head_dim": 4,
        "context_length": 10,
        "max_batch_size": 8,
        "cache_bytes": 10**6,
        "device": torch.device("cpu"),
    }
    return KVCache(**(arguments | changes))


@pytest.mark.parametrize(("budget", "slots"), [(10**6, 8), (3 * SLOT_BYTES + 5, 3), (SLOT_BYTES, 1)])
def test_slots_fill_the_budget_or_the_batch(budget: int, slots: int) -> None:
    cache = build(cache_bytes=budget)
    assert cache.slots == slots
    assert cache.bytes == sum(layer.nbytes for layer in cache.layers) == slots * SLOT_BYTES


def test_refuses_a_budget_for_less_than_one_sequence() -> None:
    with pytest.raises(StreaminferError, match=f"{SLOT_BYTES} bytes") as caught:
        build(cache_bytes=SLOT_BYTES - 1)
    assert caught.value.field == "cache_bytes"


@pytest.mark.parametrize(("length", "source_length"), [(3, 7), (7, 3), (5, 5)])
def test_vacated_positions_are_zero_and_the_last_slot_follows(length: int, source_length: int) -> None:
    cache = build(max_batch_size=3)
    for layer in cache.layers:
        layer[0, :length], layer[1, :4], layer[2, :source_length] = torch.nan, 1.0, 2.0
    cache.vacate(Vacancy(0, length, 2, source_length))
    for layer in cache.layers:
        assert (layer[0, :source_length] == 2).all()
        assert not layer[0, source_length:].any()
        assert (layer[1, :4] == 1).all()
        assert not layer[2].any()
    cache.vacate(Vacancy(1, 4, 1, 4))
    assert not any(layer[1].any() for layer in cache.layers)
