"""``...ForTokenClassification``: the parts of each text that have a label."""

from __future__ import annotations

import numpy as np
import torch

from jupyter_streaminfer.inference.checkpoint import refuse
from jupyter_streaminfer.inference.encoder_folder import facts, labels_of, open_encoder
from jupyter_streaminfer.inference.predict_model import Batch, bad_row
from jupyter_streaminfer.inference.rows import Rows
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.inference.spans import Words, spans
from jupyter_streaminfer.inference.text_model import IDS, TextModel
from jupyter_streaminfer.protocol import ModelInfo, Signature, Span, TensorSpec

WORDS = "words"


class TokenClassifier(TextModel):
    """An encoder with a head over each token; a word has the label of its first token, as it was trained."""

    def __init__(self, source: Source) -> None:
        """Raises `StreaminferError` where the folder cannot be loaded."""
        super().__init__(open_encoder(source, "AutoModelForTokenClassification"), source)
        if self.tokenizer is None:
            raise refuse(f"tokenizer.json is missing in {source.path}: where a part of a text is, only it can tell")
        self.labels = labels_of(self.encoder)
        spec = TensorSpec("inputs", "text", max_length=self.max_length)
        signature = Signature([spec], kind="spans", labels=self.labels)
        self.info = ModelInfo("predict", signature=signature, **facts(self.encoder))

    def prepare(self, rows: Rows) -> Rows:
        """See `TextModel.prepare`; texts only, for token ids have no characters."""
        texts = rows.columns["inputs"]
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise bad_row(index, "must be a text: token ids have no characters that a span could point to")
        encodings = self._encodings(list(texts), range(len(texts)))
        ids = [np.array(each.ids, np.int64) for each in encodings]
        for index, each in enumerate(ids):
            self._check(index, each)
        return Rows({IDS: ids, WORDS: [Words.read(*pair) for pair in zip(texts, encodings, strict=True)]})

    def forward(self, batch: Batch) -> list[list[Span]]:
        """The spans of each text, in its order."""
        logits: torch.Tensor = self.encode(batch).logits.float()
        confidences, labels = logits.softmax(-1).max(-1)
        rows = zip(batch[WORDS], confidences.tolist(), labels.tolist(), strict=True)
        return [spans(words, found, sure, self.labels) for words, sure, found in rows]


def load_token_classifier(source: Source) -> TokenClassifier:
    """The classifier in a folder."""
    return TokenClassifier(source)
