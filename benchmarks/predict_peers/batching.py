"""What the peers share: the messages, the two models, and the micro-batcher that everybody writes by hand.

They answer the same requests with the same bytes as our server does; nothing but torch and msgspec is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import torch

WIDTHS = (16, 256, 256, 4)
"""The MLP's, input and output included."""


class Predict(msgspec.Struct, tag_field="type", tag="predict"):
    """A request of one row."""

    id: str
    model: str
    inputs: list[list[float]]


class Count(msgspec.Struct, tag_field="type", tag="count"):
    """Asks how many batches and rows there were."""


class Scored(msgspec.Struct):
    label: str
    confidence: float


class Prediction(msgspec.Struct):
    label: str
    confidence: float
    scores: list[Scored]


class Result(msgspec.Struct, tag_field="type", tag="result"):
    id: str
    model: str
    version: str
    outputs: list[Any]


class Counted(msgspec.Struct, tag_field="type", tag="counted"):
    batches: int
    rows: int


decode = msgspec.json.Decoder(Predict | Count).decode
encode = msgspec.json.Encoder().encode


class Echo:
    """Gives each row back."""

    def predict(self, rows: list[list[float]]) -> list[Any]:
        return rows


class Mlp:
    """A classifier; its answer is every class, the surest first."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(1)
        pairs = itertools.pairwise(WIDTHS)
        layers = [layer for before, after in pairs for layer in (torch.nn.Linear(before, after), torch.nn.ReLU())]
        self.network = torch.nn.Sequential(*layers[:-1], torch.nn.Softmax(-1)).eval()
        self.labels = [str(index) for index in range(WIDTHS[-1])]

    def predict(self, rows: list[list[float]]) -> list[Any]:
        with torch.inference_mode():
            confidences, order = self.network(torch.tensor(rows)).sort(descending=True)
        answers = []
        for values, indices in zip(confidences.tolist(), order.tolist(), strict=True):
            scores = [Scored(self.labels[index], value) for index, value in zip(indices, values, strict=True)]
            answers.append(Prediction(scores[0].label, scores[0].confidence, scores))
        return answers


MODELS = {"echo": Echo, "mlp": Mlp}


class MicroBatcher:
    """Gathers requests of one row on the event loop and computes them there, all at once."""

    def __init__(self, model: str, size: int, wait_ms: float) -> None:
        self.model = MODELS[model]()
        self.size = size
        self.wait_s = wait_ms / 1000
        self.waiting: list[tuple[Predict, Callable[[bytes], object]]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.batches = self.rows = 0

    def submit(self, request: Predict, answer: Callable[[bytes], object]) -> None:
        """Have it computed with others; ``answer`` gets the encoded result."""
        self.waiting.append((request, answer))
        if len(self.waiting) >= self.size:
            self.flush()
        elif self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(self.wait_s, self.flush)

    def flush(self) -> None:
        """Compute what there is."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        batch, self.waiting = self.waiting, []
        self.batches += 1
        self.rows += len(batch)
        outputs = self.model.predict([request.inputs[0] for request, _ in batch])
        for (request, answer), output in zip(batch, outputs, strict=True):
            answer(encode(Result(request.id, request.model, "1", [output])))

    def count(self) -> bytes:
        """The answer to `Count`."""
        return encode(Counted(self.batches, self.rows))


def options() -> argparse.Namespace:
    """What every peer is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--wait-ms", type=float, required=True)
    return parser.parse_args()
