"""A small fully connected classifier, straight from a folder of ``config.json`` and ``model.safetensors``.

``config.json``: ``architectures`` ``["MlpClassifier"]``, ``input_shape``, ``image_shape`` (optional: the same row
unflattened, accepted as well), ``input_scale`` (inputs are multiplied by it), ``hidden_sizes``, ``labels`` and
``temperature`` (logits are divided by it, so that confidences are calibrated). Tensors: ``layers.I.weight``
``[out, in]`` and ``layers.I.bias`` ``[out]``; ReLU between layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch

from jupyter_streaminfer.inference.checkpoint import Checkpoint, Config, read_json, refuse
from jupyter_streaminfer.inference.predict_model import Batch, PredictModel
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.protocol import ModelInfo, Signature, TensorSpec

ARCHITECTURE = "MlpClassifier"
MAX_SIZE = 2**20
MAX_LAYERS = 64


@dataclass(frozen=True)
class ClassifierConfig:
    """``config.json``, checked."""

    input_shape: tuple[int, ...]
    image_shape: tuple[int, ...] | None
    input_scale: float
    hidden_sizes: tuple[int, ...]
    labels: tuple[str, ...]
    temperature: float

    @classmethod
    def read(cls, values: dict[str, Any]) -> ClassifierConfig:
        config = Config(values)
        input_shape = _sizes(values, "input_shape")
        image_shape = _sizes(values, "image_shape") if "image_shape" in values else None
        if image_shape is not None and math.prod(image_shape) != math.prod(input_shape):
            raise refuse(
                f"config.json: image_shape {list(image_shape)} does not hold as many numbers as"
                f" input_shape {list(input_shape)}"
            )
        labels = values.get("labels")
        if (
            not isinstance(labels, list)
            or not 2 <= len(labels) <= MAX_SIZE
            or not all(isinstance(label, str) for label in labels)
            or len(set(labels)) != len(labels)
        ):
            raise refuse("config.json: labels must be a list of at least two different names")
        return cls(
            input_shape=input_shape,
            image_shape=image_shape,
            input_scale=config.number("input_scale", -1e9, 1e9, 1.0),
            hidden_sizes=_sizes(values, "hidden_sizes"),
            labels=tuple(labels),
            temperature=config.number("temperature", 1e-3, 1e3, 1.0),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers go in, through each hidden layer, and out."""
        return (math.prod(self.input_shape), *self.hidden_sizes, len(self.labels))


def _sizes(values: dict[str, Any], field: str) -> tuple[int, ...]:
    found = values.get(field)
    if (
        not isinstance(found, list)
        or not 1 <= len(found) <= MAX_LAYERS
        or not all(type(size) is int and 1 <= size <= MAX_SIZE for size in found)
        or math.prod(found if field != "hidden_sizes" else [1]) > MAX_SIZE
    ):
        raise refuse(f"config.json: {field} must be a list of sizes from 1 to {MAX_SIZE}, found {found!r:.80}")
    return tuple(found)


class Classifier(PredictModel):
    """The weights of one classifier and its forward; float32."""

    def __init__(self, folder: Path, config: ClassifierConfig, device: torch.device) -> None:
        """Read ``folder``; raises `StreaminferError` naming the file or tensor that is missing or misshapen."""
        self.config = config
        self.device = device
        self.weights: list[torch.Tensor] = []
        self.biases: list[torch.Tensor] = []
        with Checkpoint(folder) as checkpoint:
            for index, (before, after) in enumerate(pairwise(config.sizes)):
                weight = checkpoint.tensor(f"layers.{index}.weight", after, before)
                self.weights.append(weight.t().contiguous().to(device))
                self.biases.append(checkpoint.tensor(f"layers.{index}.bias", after).to(device))
        tensors = [*self.weights, *self.biases]
        also = [list(config.image_shape)] if config.image_shape else []
        self.info = ModelInfo(
            task="predict",
            architecture=ARCHITECTURE,
            parameters=sum(tensor.numel() for tensor in tensors),
            weight_bytes=sum(tensor.nbytes for tensor in tensors),
            device=device.type,
            dtype="float32",
            signature=Signature(
                inputs=[TensorSpec("inputs", "float32", list(config.input_shape), also=also)],
                kind="classes",
                labels=list(config.labels),
            ),
        )

    def forward(self, batch: Batch) -> torch.Tensor:
        """Confidences ``[B, labels]`` of ``inputs``."""
        hidden = cast(torch.Tensor, batch["inputs"]).flatten(1) * self.config.input_scale
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.addmm(bias, hidden.relu() if index else hidden, weight)
        return (hidden / self.config.temperature).softmax(-1)


def load_classifier(source: Source) -> Classifier:
    """The classifier in a folder."""
    source.keep_type()
    source.keep_arguments()
    return Classifier(source.path, ClassifierConfig.read(read_json(source.path / "config.json")), source.device)
