"""What all encoders of texts share: rows of texts or token ids become padded ids and a mask."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Any

import numpy as np
import torch

from jupyter_streaminfer.inference.checkpoint import Config, read_optional_json
from jupyter_streaminfer.inference.predict_model import Batch, PredictModel, bad_row
from jupyter_streaminfer.inference.rows import Column, Rows
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import TensorSpec

MAX_LENGTH = 2**21
IDS = "input_ids"


class TextModel(PredictModel):
    """An encoder over texts; subclasses say what they make of its output."""

    def __init__(self, model: Any, source: Source, limit: int = MAX_LENGTH) -> None:
        """``limit``: tokens of a text, where something says less than the model's config."""
        self.device = source.device
        self.encoder = model
        self.vocabulary = Config({"vocab_size": getattr(model.config, "vocab_size", None)}).integer(
            "vocab_size", 1, 2**24
        )
        self.max_length = min(limit, _positions(model), _said(source))
        self.tokenizer: Tokenizer | None = None
        if (source.path / "tokenizer.json").exists():
            self.tokenizer = Tokenizer(source.path, self.vocabulary)
        self._padding = getattr(model.config, "pad_token_id", None) or 0

    def spec(self) -> TensorSpec:
        """Its one input: texts, or token ids; these only, where the folder has no tokenizer."""
        bounds: dict[str, Any] = {"minimum": 0, "maximum": self.vocabulary - 1, "max_length": self.max_length}
        if self.tokenizer is None:
            return TensorSpec("inputs", "int64", [None], **bounds)
        return TensorSpec("inputs", "text", **bounds)

    def prepare(self, rows: Rows) -> Rows:
        """The token ids of the rows; `StreaminferError` for one that is longer than the model."""
        return Rows({IDS: self.token_ids(rows.columns["inputs"])})

    def token_ids(self, texts: Column) -> list[np.ndarray]:
        """``[tokens]`` int64 of each text, with the tokenizer's special tokens around it, or of given ids."""
        places = [index for index, text in enumerate(texts) if isinstance(text, str)]
        encodings = iter(self._encodings([texts[index] for index in places], places))
        found = []
        for index, text in enumerate(texts):
            ids = next(encodings).ids if isinstance(text, str) else text
            found.append(np.asarray(ids, np.int64))
            self._check(index, found[-1])
        return found

    def _encodings(self, texts: Seq[str], places: Seq[int]) -> Seq[Any]:
        """What the tokenizer makes of texts, which are rows ``places`` of a request."""
        if not texts:
            return []
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise bad_row(places[0], "must be token ids: the model's folder has no tokenizer.json")
        # Before tokenising, which takes time in which nobody is served.
        most = self.max_length * tokenizer.longest_piece
        for place, text in zip(places, texts, strict=True):
            if len(text) > most:
                raise bad_row(place, f"has {len(text)} characters; {self.max_length} tokens are {most} at most")
        encodings: Seq[Any] = tokenizer.backend.encode_batch(list(texts))
        return encodings

    def _check(self, index: int, ids: np.ndarray) -> None:
        if not len(ids):
            raise bad_row(index, "is empty; give at least one token")
        if len(ids) > self.max_length:
            raise bad_row(index, f"has {len(ids)} tokens; the model takes {self.max_length} at most: cut it")
        if ids.min() < 0 or ids.max() >= self.vocabulary:
            raise bad_row(index, f"has a token id that is not from 0 to {self.vocabulary - 1}")

    def encode(self, batch: Batch) -> Any:
        """What the encoder gives for a batch of token ids."""
        ids, mask = batch[IDS], batch[f"{IDS}_mask"]
        assert isinstance(ids, torch.Tensor)  # noqa: S101 (as the batch of a column of arrays is made)
        assert isinstance(mask, torch.Tensor)  # noqa: S101
        # Some models count their positions by what is no padding.
        return self.encoder(input_ids=ids.masked_fill(~mask, self._padding), attention_mask=mask.long())


def _positions(model: Any) -> int:
    """How many tokens the model has positions for."""
    config = model.config
    length = Config({"max_position_embeddings": getattr(config, "max_position_embeddings", MAX_LENGTH)}).integer(
        "max_position_embeddings", 1, MAX_LENGTH, MAX_LENGTH
    )
    for name, module in model.named_modules():
        # RoBERTa and its kin begin to count after the padding's own position.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.num_embeddings) - int(module.padding_idx) - 1
    return length


def _said(source: Source) -> int:
    """What ``tokenizer_config.json`` says of a text's length; it has a huge number where it does not know."""
    found = read_optional_json(source.path / "tokenizer_config.json").get("model_max_length")
    return int(found) if isinstance(found, int | float) and 1 <= found <= MAX_LENGTH else MAX_LENGTH
