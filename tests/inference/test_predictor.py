"""The prediction runtime over the bundled digits model, and over one that overflows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from predicting import predict_job, rows
from safetensors.torch import save_file
from sklearn.datasets import load_digits

import jupyter_streaminfer
from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.protocol import JobEvent, JobFailed, Predicted

from .conftest import generate_job, rejected

DIGITS = Path(jupyter_streaminfer.__file__).parent / "models" / "digits"


def load(folder: Path = DIGITS, **arguments: Any) -> Predictor:
    runtime = load_runtime(folder, threads=1, max_wait_ms=0.0, **arguments)
    assert isinstance(runtime, Predictor)
    return runtime


@pytest.fixture(scope="module")
def images() -> list[list[float]]:
    return load_digits().data.tolist()


def finish(runtime: Predictor) -> dict[str, JobEvent]:
    """Each job's one event."""
    assert runtime.batcher.max_wait == 0
    found: dict[str, JobEvent] = {}
    while runtime.due_in() is not None:
        for event in runtime.step():
            assert event.job not in found
            found[event.job] = event
    return found


def test_knows_the_digits(images: list[list[float]]) -> None:
    runtime = load()
    runtime.warm_up()
    assert runtime.submit(predict_job("a", images)) is None
    event = finish(runtime)["a"]
    assert isinstance(event, Predicted)
    labels = [str(label) for label in load_digits().target]
    right = sum(output["label"] == label for output, label in zip(rows(event), labels, strict=True))
    assert right / len(labels) >= 0.97
    for output in rows(event):
        confidences = [score["confidence"] for score in output["scores"]]
        assert confidences == sorted(confidences, reverse=True)
        assert sum(confidences) == pytest.approx(1, abs=1e-4)
        assert (output["label"], output["confidence"]) == (output["scores"][0]["label"], confidences[0])
        assert {score["label"] for score in output["scores"]} == set("0123456789")


def test_rows_and_images_give_the_same(images: list[list[float]]) -> None:
    runtime = load(max_batch_size=5)
    square = [[row[i : i + 8] for i in range(0, 64, 8)] for row in images[:12]]
    runtime.submit(predict_job("flat", images[:12]))
    runtime.submit(predict_job("square", square))
    for index in range(12):
        runtime.submit(predict_job(f"one{index}", [[int(value) for value in images[index]]]))
    found = finish(runtime)
    flat, squared = found["flat"], found["square"]
    assert isinstance(flat, Predicted)
    assert isinstance(squared, Predicted)
    for index, output in enumerate(rows(flat)):
        one = found[f"one{index}"]
        assert isinstance(one, Predicted)
        for other in (rows(squared)[index], rows(one)[0]):
            assert other["label"] == output["label"]
            assert other["confidence"] == pytest.approx(output["confidence"], abs=1e-5)


def test_info() -> None:
    info = load(max_batch_size=7).info
    assert (info.task, info.input_shape, info.max_batch_size) == ("predict", [64], 7)
    assert info.labels == list("0123456789")
    assert info.weight_bytes == 4 * info.parameters < 300_000


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([0.0] * 63, "must have shape \\[64\\] or \\[8, 8\\], found shape \\[63\\]"),
        ([[0.0] * 64], "found shape \\[1, 64\\]"),
        (3.0, "found shape \\[\\]"),
        ([], "found shape \\[0\\]"),
        ([[0.0] * 8] * 7 + [[0.0] * 7], "unequal lengths"),
        ([0.0] * 63 + [[0.0]], "unequal lengths"),
        ([[0.0]] + [0.0] * 63, "unequal lengths"),
        ([0.0] * 63 + ["1"], "numbers only, found str"),
        ([0.0] * 63 + [True], "numbers only, found bool"),
        ([0.0] * 63 + [None], "numbers only, found NoneType"),
        ([0.0] * 63 + [float("nan")], "finite"),
        ([0.0] * 63 + [float("-inf")], "finite"),
        ([0.0] * 63 + [1e39], "finite"),
        ([0] * 63 + [10**400], "finite"),
    ],
)
def test_refuses_a_bad_row_by_its_number(row: Any, said: str) -> None:
    runtime = load()
    error = rejected(runtime, predict_job("a", [[0.0] * 64, row]))
    assert (error.code, error.field, error.retryable) == ("invalid_request", "inputs", False)
    assert error.message.startswith("row 1 of inputs")
    assert re.search(said, error.message)
    assert runtime.due_in() is None


def test_refuses_generation_and_a_full_queue() -> None:
    runtime = load(max_queue=1)
    assert rejected(runtime, generate_job("g", [5])).field == "model"
    assert runtime.submit(predict_job("a", [[0.0] * 64])) is None
    assert rejected(runtime, predict_job("b", [[0.0] * 64])).code == "overloaded"
    runtime.cancel("a")
    assert runtime.due_in() is None


def test_jobs_of_a_client_wait_for_their_turn() -> None:
    runtime = load(max_batch_size=2)
    for job, client in (("a0", "a"), ("a1", "a"), ("b", "b")):
        assert runtime.submit(predict_job(job, [[0.0] * 64] * 2, client)) is None
    for job in ("a0", "b"):
        error = rejected(runtime, predict_job(job, [[0.0] * 64]))
        assert (error.code, error.retryable) == ("invalid_request", False)
    for job in ("a0", "b"):
        runtime.pause(job)
        runtime.resume(job)
    assert list(finish(runtime)) == ["a0", "b", "a1"]
    assert len(runtime.batcher) == 0


def test_a_row_that_overflows_fails_its_own_job_alone(tmp_path: Path) -> None:
    config = {"architectures": ["MlpClassifier"], "input_shape": [2], "hidden_sizes": [2], "labels": ["no", "yes"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {
        "layers.0.weight": torch.full((2, 2), 1e6),
        "layers.0.bias": torch.zeros(2),
        "layers.1.weight": torch.tensor([[1.0, 0.0], [0.0, 1.5]]),
        "layers.1.bias": torch.zeros(2),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    runtime = load(tmp_path, max_batch_size=4)
    runtime.submit(predict_job("first", [[1e-6, 0.0]]))
    runtime.submit(predict_job("bad", [[1e-6, 0.0]] * 5 + [[1e38, 1e38]] + [[1e-6, 0.0]] * 5))
    runtime.submit(predict_job("last", [[2e-6, 0.0]] * 3))
    found = finish(runtime)
    bad = found.pop("bad")
    assert isinstance(bad, JobFailed)
    assert (bad.error.code, bad.error.field) == ("internal", "inputs")
    assert bad.error.message.startswith("row 5 of inputs cannot be computed: its output is not finite")
    assert set(found) == {"first", "last"}
    for event in found.values():
        assert isinstance(event, Predicted)
        assert {output["label"] for output in rows(event)} == {"yes"}
    assert len(runtime.batcher) == 0
