"""The predictor over small models of the tests' own: lengths that vary, rows that fail, settings that change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from predicting import predict_job, rows

from jupyter_streaminfer.inference.predict_model import Batch, Outputs, PredictModel, bad_row
from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.inference.rows import Rows
from jupyter_streaminfer.protocol import (
    Embed,
    Embedded,
    EmbedJob,
    InputDType,
    JobEvent,
    JobFailed,
    ModelInfo,
    ModelSettings,
    Predicted,
    Rejected,
    Signature,
    TensorSpec,
)

from .conftest import rejected


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Model(PredictModel):
    """Computes what it is given, on one input ``x``; remembers how large its batches were."""

    def __init__(
        self,
        forward: Callable[[Any], Outputs],
        *,
        shape: list[int | None] | None = None,
        dtype: InputDType = "float32",
        **signature: Any,
    ) -> None:
        inputs = [TensorSpec("x", dtype, shape or [], **signature)]
        self.info = ModelInfo("predict", "Test", 0, 0, "cpu", "float32", signature=Signature(inputs, kind="tensors"))
        self.sizes: list[int] = []
        self._forward = forward

    def forward(self, batch: Batch) -> Outputs:
        self.sizes.append(len(batch["x"]))
        return self._forward(batch["x"])


def predictor(model: PredictModel, **arguments: Any) -> Predictor:
    return Predictor(model, **({"max_batch_size": 8, "max_wait_ms": 0.0, "max_queue": 100} | arguments))


def finish(runtime: Predictor) -> dict[str, JobEvent]:
    """Each job's one event."""
    found: dict[str, JobEvent] = {}
    while (due := runtime.due_in()) is not None:
        assert due == 0.0
        for event in runtime.step():
            assert event.job not in found
            found[event.job] = event
    return found


def answers(runtime: Predictor, inputs: list[Any]) -> list[Any]:
    assert runtime.submit(predict_job("all", inputs)) is None
    event = finish(runtime)["all"]
    assert isinstance(event, Predicted), event
    return rows(event)


class Attention(PredictModel):
    """Token ids through an embedding, masked self-attention and a masked mean."""

    def __init__(self) -> None:
        self.info = ModelInfo(
            "predict",
            "Attention",
            0,
            0,
            "cpu",
            "float32",
            signature=Signature([TensorSpec("ids", "int64", [None], minimum=0, maximum=49)], kind="embedding"),
        )
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(50, 16, generator=generator)
        self.weights = [torch.randn(16, 16, generator=generator) / 4 for _ in range(3)]

    def forward(self, batch: Batch) -> Outputs:
        ids, mask = batch["ids"], batch["ids_mask"]
        assert isinstance(ids, torch.Tensor)
        assert isinstance(mask, torch.Tensor)
        hidden = self.table[ids]
        query, key, value = (hidden @ weight for weight in self.weights)
        attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, :])
        return (attended * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 50, length).tolist() for length in generator.integers(1, 70, 64)]


@pytest.fixture(scope="module")
def alone(texts: list[list[int]]) -> list[list[float]]:
    """What each text gives by itself, without padding."""
    model = Attention()
    return [
        model.forward({"ids": torch.tensor([text]), "ids_mask": torch.ones(1, len(text), dtype=torch.bool)})[0].tolist()
        for text in texts
    ]


@pytest.mark.parametrize("size", range(1, 65))
def test_batched_answers_equal_unbatched_ones(size: int, texts: list[list[int]], alone: list[list[float]]) -> None:
    """In every batch size, whoever shares the batch, and in the order of the request."""
    runtime = predictor(Attention(), max_batch_size=size)
    np.testing.assert_allclose(answers(runtime, texts), alone, atol=1e-5)
    for index, text in enumerate(texts):
        runtime.submit(predict_job(f"{index}", [text, texts[0]], f"client {index % 3}"))
    found = finish(runtime)
    for index, each in enumerate(alone):
        event = found[f"{index}"]
        assert isinstance(event, Predicted)
        np.testing.assert_allclose(rows(event), [each, alone[0]], atol=1e-5)


def test_less_than_half_of_a_batch_is_padding() -> None:
    shapes: list[tuple[int, int]] = []

    def forward(x: torch.Tensor) -> Outputs:
        shapes.append((len(x), x.shape[1]))
        return x.sum(1)

    lengths = [1, 500, 16, 300, 17, 40, 33, 64, 9]
    found = answers(predictor(Model(forward, shape=[None])), [[1.0] * length for length in lengths])
    assert found == lengths
    assert sorted(shapes) == [(1, 17), (2, 500), (3, 16), (3, 64)]


def test_what_differs_in_two_dimensions_is_never_padded_to_their_product() -> None:
    model = Model(lambda x: x.flatten(1).sum(1), shape=[None, None])
    wide, high = [[1.0] * 3000], [[1.0]] * 3000
    assert answers(predictor(model), [wide, high, wide]) == [3000.0] * 3
    assert model.sizes == [2, 1]


def fail_on(bad: float) -> Callable[[Any], Outputs]:
    def forward(x: torch.Tensor) -> Outputs:
        if (x == bad).any():
            raise ValueError(f"{bad} is unlucky")
        return x * 2

    return forward


def test_one_bad_row_fails_alone_and_is_found_by_halves() -> None:
    model = Model(fail_on(13))
    runtime = predictor(model, max_batch_size=64)
    for index in range(64):
        runtime.submit(predict_job(f"{index}", [index]))
    found = finish(runtime)
    bad = found.pop("13")
    assert isinstance(bad, JobFailed)
    assert bad.error.message == "row 0 of inputs cannot be computed: ValueError: 13 is unlucky"
    assert (bad.error.code, bad.error.field) == ("internal", "inputs")
    assert {job: rows(event) for job, event in found.items() if isinstance(event, Predicted)} == {
        f"{index}": [2.0 * index] for index in range(64) if index != 13
    }
    assert len(model.sizes) == 1 + 2 * 6
    assert len(runtime.batcher) == 0


def test_a_model_that_writes_to_its_batch_is_asked_again_for_what_was_there() -> None:
    def forward(x: torch.Tensor) -> Outputs:
        bad = bool((x == 3).any())
        x += 1
        if bad:
            raise ValueError
        return x

    runtime = predictor(Model(forward))
    runtime.submit(predict_job("a", [1, 2]))
    runtime.submit(predict_job("b", [3]))
    found = finish(runtime)
    assert isinstance(found["a"], Predicted)
    assert rows(found["a"]) == [2.0, 3.0]


def test_the_row_is_named_as_it_is_in_the_request() -> None:
    def forward(x: torch.Tensor) -> Outputs:
        return torch.where((x == 7).any(1), torch.nan, x.sum(1))

    runtime = predictor(Model(forward, shape=[None]))
    runtime.submit(predict_job("a", [[1] * 100, [1] * 30, [7], [1] * 3]))
    found = finish(runtime)["a"]
    assert isinstance(found, JobFailed)
    assert found.error.message.startswith("row 2 of inputs cannot be computed")


def test_a_model_that_answers_nonsense_fails_every_job_and_goes_on() -> None:
    runtime = predictor(Model(lambda x: x[:0]))
    for job in "abc":
        runtime.submit(predict_job(job, [1]))
    for event in finish(runtime).values():
        assert isinstance(event, JobFailed)
        assert "not an answer for each row" in event.error.message
    assert runtime.due_in() is None


def test_a_lost_device_is_no_bad_row() -> None:
    def forward(x: torch.Tensor) -> Outputs:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    runtime = predictor(Model(forward))
    runtime.submit(predict_job("a", [1]))
    with pytest.raises(RuntimeError, match="CUDA"):
        runtime.step()


def test_a_caller_that_is_gone_stalls_nobody() -> None:
    model = Model(lambda x: x)
    runtime = predictor(model, max_batch_size=2)
    for job in "abcd":
        runtime.submit(predict_job(job, [1, 2, 3]))
    runtime.cancel("a")
    first = runtime.step()
    runtime.cancel("b")
    found = {event.job for event in first} | set(finish(runtime))
    assert found == {"c", "d"}
    assert len(runtime.batcher) == 0


def test_a_deadline_that_passed_is_told_and_nothing_is_computed() -> None:
    clock, model = Clock(), Model(lambda x: x, shape=[None])
    runtime = predictor(model, max_wait_ms=1000.0, clock=clock)
    runtime.submit(predict_job("late", [[1], [1, 2]], deadline_ms=10.0))
    assert runtime.due_in() == pytest.approx(0.005)
    clock.now += 0.02
    (event,) = runtime.step()
    assert isinstance(event, JobFailed)
    assert (event.error.code, event.error.retryable) == ("expired", True)
    assert model.sizes == []
    assert runtime.stats().batcher.expired == 1
    runtime.submit(predict_job("urgent", [[1]], deadline_ms=10.0, priority=1))
    clock.now += 0.006
    (event,) = runtime.step()
    assert isinstance(event, Predicted)


def test_settings_change_under_way() -> None:
    model = Model(lambda x: x)
    runtime = predictor(model, max_batch_size=16, max_wait_ms=60_000.0)
    runtime.configure(ModelSettings(preferred_batch_sizes=[4]))
    for index in range(4):
        assert runtime.due_in() != 0.0
        runtime.submit(predict_job(f"{index}", [1]))
    assert len(runtime.step()) == 4
    runtime.configure(ModelSettings(max_batch_size=2, preferred_batch_sizes=[]))
    assert answers(runtime, [1] * 8) == [1.0] * 8
    runtime.configure(ModelSettings(max_batch_size=1000, max_wait_ms=0.0))
    assert answers(runtime, [1] * 20) == [1.0] * 20
    assert model.sizes == [4, 2, 2, 2, 2, 16, 4]
    found = runtime.stats().batcher
    assert (found.batches, found.rows, found.full, found.preferred, found.timed) == (7, 32, 5, 1, 1)
    assert (found.max_batch_size, found.max_wait_ms) == (16, 0.0)


def test_a_latency_target_chooses_the_size() -> None:
    clock = Clock()

    def forward(x: torch.Tensor) -> Outputs:
        clock.now += 0.001 * len(x) + 0.001
        return x

    model = Model(forward)
    runtime = predictor(model, max_batch_size=64, clock=clock)
    runtime.warm_up()
    runtime.configure(ModelSettings(latency_target_ms=40.0))
    for _ in range(4):
        answers(runtime, [1] * 15)
    assert max(model.sizes[4:]) == pytest.approx(19, abs=4)
    stats = runtime.stats().batcher
    assert (stats.latency_target_ms, stats.attainable) == (40.0, True)
    runtime.configure(ModelSettings(latency_target_ms=1.0))
    answers(runtime, [1])
    stats = runtime.stats().batcher
    assert (stats.attainable, stats.max_batch_size, stats.max_wait_ms) == (False, 1, 0.0)
    runtime.configure(ModelSettings(latency_target_ms=0.0))
    stats = runtime.stats().batcher
    assert (stats.latency_target_ms, stats.attainable, stats.max_batch_size) == (0.0, True, 64)


def test_a_model_has_a_largest_batch_of_its_own() -> None:
    model = Model(lambda x: x)
    model.largest_batch = 3
    runtime = predictor(model)
    assert runtime.info.max_batch_size == 3
    assert answers(runtime, [1] * 7) == [1.0] * 7
    assert model.sizes == [3, 3, 1]


@pytest.mark.parametrize(
    "signature",
    [
        {"shape": [2, 3]},
        {"shape": [None, 3], "max_length": 2},
        {"dtype": "uint8", "shape": [None, None, 3]},
        {"dtype": "int64", "minimum": 5, "maximum": 9},
        {"maximum": -2.0},
        {"dtype": "bool", "shape": [1]},
        {"dtype": "text"},
    ],
)
def test_warms_up_with_rows_that_fit(signature: dict[str, Any]) -> None:
    model = Model(lambda x: [0] * len(x), **signature)
    runtime = predictor(model)
    runtime.warm_up()
    assert model.sizes == [1, 1, 8, 8]
    assert runtime.due_in() is None


def test_a_model_of_anything_is_not_warmed_up_with_nothing() -> None:
    model = Model(lambda x: x, dtype="any")
    runtime = predictor(model)
    runtime.warm_up()
    assert model.sizes == []
    assert answers(runtime, [{"a": [None]}, 3]) == [{"a": [None]}, 3]


def test_of_jobs_that_come_together_a_bad_one_is_refused_alone() -> None:
    """What one of them has wrong must not cost those their answer whose rows share its array."""
    model = Model(lambda x: x + 1)
    runtime = predictor(model, max_queue=4)
    jobs = [
        predict_job("a", [1]),
        predict_job("bad", ["x"]),
        predict_job("b", [2, 3]),
        predict_job("late", [4], deadline_ms=60_000, priority=-1),
        predict_job("a", [7]),
        predict_job("c", [5], priority=1),
        predict_job("full", [6]),
    ]
    refused = {(event.job, event.error.code) for event in runtime.submit_all(jobs) if isinstance(event, Rejected)}
    assert refused == {("bad", "invalid_request"), ("a", "invalid_request"), ("full", "overloaded")}
    found = finish(runtime)
    assert {job: rows(event) for job, event in found.items() if isinstance(event, Predicted)} == {
        "a": [2.0],
        "b": [3.0, 4.0],
        "c": [6.0],
        "late": [5.0],
    }
    assert list(found) == ["c", "a", "b", "late"]
    assert model.sizes == [5]


class Words(Model):
    """Texts by the lengths of their words; embeds them too."""

    def __init__(self) -> None:
        super().__init__(lambda x: [[float(size) for size in text] for text in x], dtype="text")

    def prepare(self, rows: Rows) -> Rows:
        for index, text in enumerate(rows.columns["x"]):
            if not text:
                raise bad_row(index, "must have a word")
            if text == "!":
                raise KeyError("no such word")
        return Rows({"x": [[len(word) for word in text.split()] for text in rows.columns["x"]]})

    def embed(self, request: Embed) -> tuple[Rows, int]:
        rows = self.prepare(Rows({"x": list(request.inputs)}))
        return rows, sum(map(len, rows.columns["x"]))


def test_rows_are_prepared_before_they_are_queued() -> None:
    runtime = predictor(Words())
    assert answers(runtime, ["a bc", "def"]) == [[1, 2], [3]]
    assert rejected(runtime, predict_job("a", ["a", ""])).message == "row 1 of inputs must have a word"
    error = rejected(runtime, predict_job("a", ["!"]))
    assert (error.code, error.field) == ("internal", "inputs")
    assert "KeyError" in error.message
    refused = runtime.submit_all([predict_job("a", [""]), predict_job("b", ["abc"]), predict_job("c", ["!"])])
    assert [(event.job, event.error.code) for event in refused if isinstance(event, Rejected)] == [
        ("a", "invalid_request"),
        ("c", "internal"),
    ]
    assert list(finish(runtime)) == ["b"]


def test_a_request_for_embeddings_is_rows_too() -> None:
    runtime = predictor(Words())
    runtime.submit(EmbedJob("e", Embed("e", "words", ["a bc", "def"])))
    runtime.submit(predict_job("p", ["ghij"]))
    found = finish(runtime)
    assert found["e"] == Embedded("e", [[1.0, 2.0], [3.0]], 3)
    assert found["p"] == Predicted("p", msgspec.json.encode([[4.0]]))
    event = predictor(Model(lambda x: x)).submit(EmbedJob("e", Embed("e", "words", ["a"])))
    assert isinstance(event, Rejected)
    assert event.error.field == "model"
