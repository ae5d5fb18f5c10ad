"""``...ForImageClassification``: a class for each picture."""

from __future__ import annotations

from typing import Any

import torch

from jupyter_streaminfer.inference.checkpoint import Config, refuse
from jupyter_streaminfer.inference.encoder_folder import facts, labels_of, open_encoder
from jupyter_streaminfer.inference.images import MAX_SIDE, Preparation
from jupyter_streaminfer.inference.predict_model import Batch, PredictModel
from jupyter_streaminfer.inference.rows import Rows
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.protocol import ModelInfo, Signature, TensorSpec

PIXELS = "pixel_values"
IMAGES = "preprocessor_config.json"


class ImageClassifier(PredictModel):
    """A vision model. Rows are pictures, uint8 ``[height, width, 3]`` of any size, which are made as the folder says.

    Without a ``preprocessor_config.json``, or with a signature that has float32 inputs, they are what the model itself
    takes: float32 ``[channels, height, width]``.
    """

    def __init__(self, source: Source) -> None:
        """Raises `StreaminferError` where the folder cannot be loaded."""
        self.device = source.device
        self.model = open_encoder(source, "AutoModelForImageClassification")
        given = source.signature.inputs[0].dtype if source.signature and source.signature.inputs else None
        self.preparation: Preparation | None = None
        if given != "float32" and (source.path / IMAGES).exists():
            self.preparation = Preparation.read(source.path / IMAGES)
            spec = TensorSpec("inputs", "uint8", [None, None, 3], max_length=MAX_SIDE)
        else:
            spec = TensorSpec("inputs", "float32", _shape(self.model.config, source.signature))
        signature = Signature([spec], kind="classes", labels=labels_of(self.model))
        self.info = ModelInfo("predict", signature=signature, **facts(self.model))

    def prepare(self, rows: Rows) -> Rows:
        """The pictures as the model takes them."""
        column = rows.columns["inputs"]
        if self.preparation is None:
            return Rows({PIXELS: column})
        return Rows({PIXELS: self.preparation.pixels(column)})

    def forward(self, batch: Batch) -> torch.Tensor:
        """Confidences ``[B, labels]``."""
        pixels = batch[PIXELS]
        assert isinstance(pixels, torch.Tensor)  # noqa: S101 (as the batch of an array is made)
        logits: torch.Tensor = self.model(pixel_values=pixels.to(self.model.dtype)).logits
        return logits.float().softmax(-1)


def load_image_classifier(source: Source) -> ImageClassifier:
    """The classifier in a folder."""
    return ImageClassifier(source)


def _shape(config: Any, signature: Signature | None) -> list[int | None]:
    """What the model takes: as the signature says, or its config."""
    if signature is not None and signature.inputs and len(signature.inputs[0].shape) == 3:
        if None in signature.inputs[0].shape:
            raise refuse("signature: pictures that are made already must all be of one size", "signature")
        return list(signature.inputs[0].shape)
    size = getattr(config, "image_size", None)
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    read = Config({"height": sides[0], "width": sides[-1], "num_channels": getattr(config, "num_channels", None)})
    if size is None:
        raise refuse(
            f"{IMAGES} is missing and config.json has no image_size: give a signature with the load, with an input"
            " inputs of float32 [channels, height, width]",
            "signature",
        )
    channels = read.integer("num_channels", 1, 1024, 3)
    return [channels, read.integer("height", 1, MAX_SIDE), read.integer("width", 1, MAX_SIDE)]
