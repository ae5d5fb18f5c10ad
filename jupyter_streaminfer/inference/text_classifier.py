"""``...ForSequenceClassification``: a class, several classes, or numbers for each text."""

from __future__ import annotations

from typing import Literal

import torch

from jupyter_streaminfer.inference.encoder_folder import facts, labels_of, open_encoder
from jupyter_streaminfer.inference.predict_model import Batch
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.inference.text_model import TextModel
from jupyter_streaminfer.protocol import ModelInfo, Signature, TensorSpec

Problem = Literal["regression", "single_label_classification", "multi_label_classification"]


class TextClassifier(TextModel):
    """An encoder with a head over each text. Several labels at once have a confidence each, which do not sum to 1."""

    def __init__(self, source: Source) -> None:
        """Raises `StreaminferError` where the folder cannot be loaded."""
        super().__init__(open_encoder(source, "AutoModelForSequenceClassification"), source)
        labels = labels_of(self.encoder)
        said = getattr(self.encoder.config, "problem_type", None)
        self.problem: Problem = said or ("regression" if len(labels) == 1 else "single_label_classification")
        if self.problem == "regression":
            signature = Signature([self.spec()], [TensorSpec("outputs", "float32", [len(labels)])], "tensors")
        else:
            signature = Signature([self.spec()], kind="classes", labels=labels)
        self.info = ModelInfo("predict", signature=signature, **facts(self.encoder))

    def forward(self, batch: Batch) -> torch.Tensor:
        """Confidences ``[B, labels]``, or the numbers of a regression."""
        logits: torch.Tensor = self.encode(batch).logits.float()
        if self.problem == "regression":
            return logits
        return logits.sigmoid() if self.problem == "multi_label_classification" else logits.softmax(-1)


def load_text_classifier(source: Source) -> TextClassifier:
    """The classifier in a folder."""
    return TextClassifier(source)
