"""Jobs of predictions as a worker gets them, and what they bring, as plain lists."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_streaminfer.protocol import Predict, Predicted, PredictJob, Result, encode_inputs


def predict(id: str, model: str, inputs: Any, **fields: Any) -> Predict:
    """A request for predictions of rows."""
    return Predict(id, model, encode_inputs(inputs), **fields)


def predict_job(job: str, inputs: Any, client: str = "", **fields: Any) -> PredictJob:
    """The same as a job; integers that are too large for msgspec are written all the same."""
    import json

    return PredictJob(job, json.dumps(inputs).encode(), client, **fields)


def rows(answer: Result | Predicted) -> list[Any]:
    """An answer's outputs, one a row."""
    found: list[Any] = msgspec.json.decode(bytes(answer.outputs))
    return found
