"""The prediction runtime: rows of many requests, computed by one forward per batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence as Seq
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import torch

from jupyter_streaminfer.inference.batcher import Batcher, Part
from jupyter_streaminfer.inference.classifier import ARCHITECTURE, Classifier
from jupyter_streaminfer.inference.faults import device_lost
from jupyter_streaminfer.protocol import (
    ErrorInfo,
    Job,
    JobEvent,
    JobFailed,
    ModelInfo,
    Predicted,
    Prediction,
    PredictJob,
    Rejected,
    Scored,
    Signature,
    StreaminferError,
    TensorSpec,
)

MAX_DEPTH = 8
"""Nested lists deeper than this are no model's input; their shape is not looked at further."""


class Predictor:
    """A `Runtime` over a classifier."""

    def __init__(self, classifier: Classifier, *, max_batch_size: int, max_wait_ms: float, max_queue: int) -> None:
        config = classifier.config
        self.classifier = classifier
        self.batcher: Batcher[np.ndarray, Prediction] = Batcher(max_batch_size, max_wait_ms, max_queue)
        self.before_compute: Callable[[], object] = lambda: None
        tensors = [*classifier.weights, *classifier.biases]
        self.info = ModelInfo(
            task="predict",
            architecture=ARCHITECTURE,
            parameters=sum(tensor.numel() for tensor in tensors),
            weight_bytes=sum(tensor.nbytes for tensor in tensors),
            device=classifier.device.type,
            dtype="float32",
            max_batch_size=max_batch_size,
            signature=Signature(
                inputs=[
                    TensorSpec(
                        "inputs",
                        "float32",
                        list(config.input_shape),
                        also=[list(config.image_shape)] if config.image_shape else [],
                    )
                ],
                kind="classes",
                labels=list(config.labels),
            ),
        )

    def warm_up(self) -> None:
        """Compute a batch of one row and a full one."""
        row = np.zeros(math.prod(self.classifier.config.input_shape), np.float32)
        for size in (1, self.batcher.max_batch_size):
            self._predict([row] * size)

    def submit(self, job: Job) -> JobEvent | None:
        """Check the rows and queue them; `Rejected` where a row has another shape or holds what is no finite number."""
        if not isinstance(job, PredictJob):
            error = ErrorInfo("invalid_request", "this model predicts; it generates no text", field="model")
            return Rejected(job.job, error)
        try:
            try:
                inputs = msgspec.json.decode(job.inputs)
            except msgspec.DecodeError as error:
                raise StreaminferError("invalid_request", f"inputs cannot be read: {error}", field="inputs") from None
            rows = [self._row(row, index) for index, row in enumerate(inputs)]
            self.batcher.submit(job.job, rows, job.client)
        except StreaminferError as error:
            return Rejected(job.job, error.info)
        return None

    def cancel(self, job: str) -> None:
        self.batcher.cancel(job)

    def pause(self, job: str) -> None:
        """See `Runtime.pause`: a prediction is not paused."""

    def resume(self, job: str) -> None:
        """See `Runtime.resume`."""

    def due_in(self) -> float | None:
        return self.batcher.due_in()

    def stats(self) -> None:
        """See `Runtime.stats`."""

    def step(self) -> list[JobEvent]:
        """Compute the batch that is due, if any; where that fails, each row alone: a bad one fails only its job."""
        parts = self.batcher.take()
        if not parts:
            return []
        self.before_compute()
        try:
            outputs = iter(self._predict([row for part in parts for row in part.rows]))
        except (ArithmeticError, RuntimeError) as error:
            if device_lost(error):
                raise
            return [event for part in parts if (event := self._retry(part)) is not None]
        events: list[JobEvent] = []
        for part in parts:
            whole = self.batcher.complete(part.job, [next(outputs) for _ in part.rows])
            if whole is not None:
                events.append(Predicted(part.job, msgspec.json.encode(whole)))
        return events

    def _retry(self, part: Part[np.ndarray]) -> JobEvent | None:
        """A part of a failed batch, row by row: its job's end, if this is that."""
        outputs: list[Prediction] = []
        for index, row in enumerate(part.rows, part.start):
            try:
                outputs += self._predict([row])
            except (ArithmeticError, RuntimeError) as error:
                if device_lost(error):
                    raise
                self.batcher.cancel(part.job)
                message = f"row {index} of inputs cannot be computed: {error}"
                return JobFailed(part.job, ErrorInfo("invalid_request", message, field="inputs"))
        whole = self.batcher.complete(part.job, outputs)
        return None if whole is None else Predicted(part.job, msgspec.json.encode(whole))

    def _predict(self, rows: Seq[np.ndarray]) -> list[Prediction]:
        """One forward over flat rows; raises `ArithmeticError` when an output is not finite."""
        probabilities, order = self.classifier.forward(torch.from_numpy(np.stack(rows))).sort(descending=True)
        if not math.isfinite(float(probabilities.sum())):
            raise ArithmeticError("its output is not finite; are its numbers too large?")
        labels = self.classifier.config.labels
        predictions: list[Prediction] = []
        for values, indices in zip(probabilities.tolist(), order.tolist(), strict=True):
            scores = [Scored(labels[index], value) for index, value in zip(indices, values, strict=True)]
            predictions.append(Prediction(scores[0].label, scores[0].confidence, scores))
        return predictions

    def _row(self, row: object, index: int) -> np.ndarray:
        """One row of a request, flat float32; `StreaminferError` says what was expected and found."""
        config = self.classifier.config
        shape = _shape(row)
        if shape is None or (shape != config.input_shape and shape != config.image_shape):
            also = f" or {list(config.image_shape)}" if config.image_shape else ""
            found = "lists of unequal lengths" if shape is None else f"shape {list(shape)}"
            raise _bad_row(index, f"must have shape {list(config.input_shape)}{also}, found {found}")
        flat: list[Any] = [row]
        for _ in shape:
            flat = list(chain.from_iterable(flat))
        kinds = set(map(type, flat))
        if not kinds <= {int, float}:
            other = sorted(kind.__name__ for kind in kinds - {int, float})
            raise _bad_row(index, f"must hold numbers only, found {', '.join(other)}")
        try:
            with np.errstate(over="ignore"):
                values = np.array(flat, np.float32)
        except OverflowError:
            values = np.array([np.inf], np.float32)
        if not np.isfinite(values).all():
            raise _bad_row(index, "must hold finite numbers of single precision only")
        return values


def _bad_row(index: int, problem: str) -> StreaminferError:
    return StreaminferError("invalid_request", f"row {index} of inputs {problem}", field="inputs")


def _shape(value: object) -> tuple[int, ...] | None:
    """The shape of nested lists; None when they are not rectangular."""
    shape: list[int] = []
    level: list[Any] = [value]
    while level and isinstance(level[0], list) and len(shape) < MAX_DEPTH:
        length = len(level[0])
        if not all(isinstance(item, list) and len(item) == length for item in level):
            return None
        shape.append(length)
        level = list(chain.from_iterable(level))
    return None if any(isinstance(item, list) for item in level) else tuple(shape)
