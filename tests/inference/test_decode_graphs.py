"""Decoding over buffers that stay, against the plain forward; on a CPU without capture, by the same code."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from jupyter_streaminfer.inference.attention import StepTensors
from jupyter_streaminfer.inference.batch import build_batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.decode_graphs import DecodeGraphs, graph_size, graph_sizes
from jupyter_streaminfer.inference.scheduler import Chunk
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.inference.staging import Staging

from .by_hand import ByHand, assert_equal, prompts
from .conftest import build_folder
from .decoding import CPU, continued, decoding, load, serve


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_folder(tmp_path_factory.mktemp("graphs"))


@given(st.integers(1, 600))
def test_sizes_cover_every_batch_and_waste_little(rows: int) -> None:
    size = graph_size(rows)
    assert rows <= size < rows + 8
    assert size < 2 * rows
    sizes = graph_sizes(rows)
    assert sizes[0] == size
    assert sizes == sorted({graph_size(fewer) for fewer in range(1, rows + 1)}, reverse=True)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 9, 16, 19, 24, 32, 33])
def test_any_batch_equals_the_plain_forward(folder: Path, rows: int) -> None:
    lengths = [1 + 37 * row % 61 for row in range(rows)]
    fixed, plain = (
        continued(load(folder, graphs), lengths, BLOCK_TOKENS + 1) for graphs in (True, False)
    )  # so many that every sequence comes into a new block
    assert fixed[0] == plain[0]
    torch.testing.assert_close(fixed[1], plain[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_mix_with_other_steps_equals_the_plain_forward(folder: Path, dtype: str) -> None:
    several = prompts(300, 7, 60)
    fixed, plain = (
        ByHand(load(folder, graphs, dtype)).greedy(several, 12, largest=3, company=5) for graphs in (True, False)
    )
    assert_equal(fixed, plain, tolerance=1e-4 if dtype == "float32" else 0.2)


def test_only_what_the_rows_own_is_written(folder: Path) -> None:
    model = load(folder, True)
    hand = ByHand(model, blocks=40)
    sequences = decoding(hand, [5, 16, 17])
    before = [layer.clone() for layer in model.storage.layers]
    hand.step([Chunk(sequence, 1) for sequence in sequences])
    assert model.graphs is not None
    assert model.graphs.sizes == [1, 2, 4]
    for layer, old in zip(model.storage.layers, before, strict=True):
        changed = {tuple(place) for place in (layer != old).flatten(2).any(-1).nonzero().tolist()}
        own = {(one.blocks[(one.computed - 1) // BLOCK_TOKENS], (one.computed - 1) % BLOCK_TOKENS) for one in sequences}
        assert {place for place in changed if place[0] < 40} == own
        assert len(layer) == 41


def test_a_broken_row_breaks_no_other(folder: Path) -> None:
    model = load(folder, True)
    hand = ByHand(model, blocks=40)
    broken, *fine = decoding(hand, [60, 3, 20])
    alone = model.hidden(build_batch([Chunk(sequence, 1) for sequence in fine]))
    for layer in model.storage.layers:
        layer[broken.blocks] = torch.nan
    states = model.hidden(build_batch([Chunk(sequence, 1) for sequence in (broken, *fine)]))
    assert states[0].isnan().all()
    torch.testing.assert_close(states[1:], alone)
    # Nor does it in the next step, which finds in the buffers what this one left there.
    torch.testing.assert_close(model.hidden(build_batch([Chunk(sequence, 1) for sequence in fine])), alone)


def test_a_result_outlives_the_next_step(folder: Path) -> None:
    model = load(folder, True)
    hand = ByHand(model, blocks=40)
    one, other = decoding(hand, [9, 30])
    kept = model.hidden(build_batch([Chunk(one, 1)]))
    copy = kept.clone()
    assert not torch.equal(model.hidden(build_batch([Chunk(other, 1)])), copy)
    assert torch.equal(kept, copy)


def never(step: StepTensors) -> torch.Tensor:
    raise AssertionError(f"{len(step.token_ids)} rows are computed that should not be")


def test_other_steps_are_left_to_others(folder: Path) -> None:
    model = load(folder, True)
    hand = ByHand(model, blocks=40)
    one, other = decoding(hand, [9, 30])
    assert model.graphs is not None
    fresh = hand.start([5, 6, 7], 4)
    assert model.graphs.hidden(build_batch([Chunk(one, 1), Chunk(fresh, 2)]), never) is None
    other.reads_from = 40
    assert model.graphs.hidden(build_batch([Chunk(one, 1), Chunk(other, 1)]), never) is None
    assert len(model.hidden(build_batch([Chunk(one, 1), Chunk(other, 1)]))) == 1


def test_growing_keeps_what_is_captured_already(folder: Path) -> None:
    model, plain = load(folder, True), load(folder, False)
    hands = [ByHand(each, blocks=140) for each in (model, plain)]
    own = [decoding(hand, [2 + row for row in range(30)]) for hand in hands]
    for rows in (1, 5, 30, 4, 12, 1):
        states = [
            each.hidden(build_batch([Chunk(sequence, 1) for sequence in sequences[:rows]]))
            for each, sequences in zip((model, plain), own, strict=True)
        ]
        torch.testing.assert_close(*states, atol=1e-4, rtol=1e-4)
    assert model.graphs is not None
    assert model.graphs.sizes == [1, 2, 4, 8, 16, 24, 32]


def test_what_cannot_be_captured_is_computed_step_by_step() -> None:
    calls = []

    def forward(step: StepTensors) -> torch.Tensor:
        calls.append(len(step.token_ids))
        raise RuntimeError("operation not permitted when stream is capturing")

    graphs = DecodeGraphs(device=CPU, paged=None, columns=2, scratch=4)
    batch = build_batch([Chunk(Sequence("", [1, 2], 1, blocks=[0]), 1)])
    batch = replace(batch, outputs=np.array([0], np.int32))
    assert graphs.hidden(batch, forward) is None
    assert graphs.hidden(batch, forward) is None
    assert calls == [1]


def test_a_model_goes_with_its_last_user(folder: Path) -> None:
    model = load(folder, True)
    hand = ByHand(model, blocks=40)
    model.hidden(build_batch([Chunk(sequence, 1) for sequence in decoding(hand, [9, 30])]))
    gone = weakref.ref(model)
    gc.disable()
    try:
        del hand, model
        assert gone() is None
    finally:
        gc.enable()


def test_staging_sends_a_beginning_and_keeps_the_rest() -> None:
    staging = Staging(6, CPU)
    place = staging.target.data_ptr()
    staging.send([np.arange(1, 5), np.array([[7], [8]], np.int32)])
    assert staging.target.tolist() == [1, 2, 3, 4, 7, 8]
    staging.send([np.array([9])])
    assert staging.target.tolist() == [9, 2, 3, 4, 7, 8]
    staging.send([np.array([3, 3])])
    assert staging.target.tolist() == [3, 3, 3, 4, 7, 8]
    assert staging.target.data_ptr() == place


def test_a_generator_says_the_same_with_them(folder: Path) -> None:
    model = load(folder, True)
    runtime, tokens = serve(folder, model)
    assert model.graphs is not None
    assert model.graphs.sizes == [1, 2, 4, 8]
    assert "decode graphs" in runtime.info.runner
    assert runtime.scheduler.preemptions > 0
    assert tokens == serve(folder, load(folder, False))[1]
    runtime.check_idle()
