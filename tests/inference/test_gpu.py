"""What only a GPU can show: captured graphs and compiled kernels against the CPU's forward."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from jupyter_streaminfer.inference.decode_graphs import graph_sizes
from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.inference.paged_attention import paged_attention

from .by_hand import ByHand, assert_equal, prompts
from .conftest import build_folder
from .decoding import CUDA, continued, load, serve

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_folder(tmp_path_factory.mktemp("gpu"))


def test_the_kernels_can_be_used() -> None:
    assert paged_attention(CUDA) is not None, "see the log for why; without them a GPU decodes without graphs"


@pytest.mark.parametrize("graphs", [False, True], ids=["launched", "replayed"])
@pytest.mark.parametrize("rows", [1, 3, 8, 19, 32])
def test_tokens_equal_the_cpu(folder: Path, rows: int, graphs: bool) -> None:
    lengths = [1 + 37 * row % 61 for row in range(rows)]
    tokens, logits = continued(load(folder, graphs, device=CUDA), lengths, 20)
    plain_tokens, plain_logits = continued(load(folder, False), lengths, 20)
    assert tokens == plain_tokens
    torch.testing.assert_close(logits, plain_logits, atol=1e-3, rtol=1e-3)


def test_a_replayed_graph_computes_what_is_launched(folder: Path) -> None:
    # Of a captured size no row is a dummy, so that both are the same operations on the same numbers.
    for rows in graph_sizes(32):
        lengths = [5 + 3 * row for row in range(rows)]
        replayed, launched = (continued(load(folder, graphs, device=CUDA), lengths, 8) for graphs in (True, False))
        assert replayed[0] == launched[0]
        torch.testing.assert_close(replayed[1], launched[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mixed_steps_equal_the_cpu(folder: Path, dtype: str) -> None:
    several = prompts(300, 7, 60)
    count = 12 if dtype == "float32" else 1  # rounded tokens may part, and then all that follows does
    there, here = (
        ByHand(model).greedy(several, count, largest=3, company=5)
        for model in (load(folder, True, dtype, CUDA), load(folder, False, "float32"))
    )
    if dtype == "float32":
        assert_equal(there, here, tolerance=1e-3)
    one, other = (torch.stack([answer.logits[0] for answer in answers]) for answers in (there, here))
    assert (one - other).abs().max() < 0.2 * other.std()


def test_a_generator_says_the_same(folder: Path) -> None:
    model = load(folder, True, device=CUDA)
    runtime, tokens = serve(folder, model)
    assert model.graphs is not None
    assert model.graphs.sizes == [1, 2, 4, 8]
    assert runtime.scheduler.preemptions > 0
    greedy = {job for job in tokens if int(job) % 2 == 0}
    plain = serve(folder, load(folder, False))[1]
    assert {job: tokens[job] for job in greedy} == {job: plain[job] for job in greedy}


def test_steps_launched_ahead_bring_the_same(folder: Path) -> None:
    model = load(folder, True, device=CUDA)
    assert serve(folder, model)[1] == serve(folder, load(folder, True, device=CUDA, ahead=False))[1]
    assert model.drawn is not None
    assert model.drawn.is_cuda


def test_loading_takes_them_by_itself(folder: Path) -> None:
    info = load_runtime(folder).info
    assert info.device == "cuda"
    assert "paged attention, decode graphs" in info.runner


def test_another_thread_may_use_the_gpu_while_graphs_are_captured(folder: Path) -> None:
    stop = threading.Event()
    busy = threading.Event()
    errors: list[Exception] = []

    def compute() -> None:
        try:
            while not stop.is_set():
                torch.randn(64, 64, device=CUDA).sum().item()
                busy.set()
        except Exception as error:
            errors.append(error)
            busy.set()

    other = threading.Thread(target=compute)
    other.start()
    try:
        busy.wait()
        model = load(folder, True, device=CUDA)
        tokens, _ = continued(model, [5] * 9, 4)
    finally:
        stop.set()
        other.join()
    assert not errors
    assert model.graphs is not None
    assert model.graphs.sizes == [1, 2, 4, 8, 16]
    assert tokens == continued(load(folder, False), [5] * 9, 4)[0]
