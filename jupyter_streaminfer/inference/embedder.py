"""Encoders whose answer is a vector for each text: ``...Model`` folders and those of sentence-transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jupyter_streaminfer.inference.checkpoint import read_optional_json, refuse
from jupyter_streaminfer.inference.encoder_folder import facts, open_encoder
from jupyter_streaminfer.inference.pooling import module_folder, pool, read_modes
from jupyter_streaminfer.inference.predict_model import Batch
from jupyter_streaminfer.inference.rows import Rows
from jupyter_streaminfer.inference.source import Source
from jupyter_streaminfer.inference.text_model import IDS, MAX_LENGTH, TextModel
from jupyter_streaminfer.protocol import Embed, ModelInfo, Signature, StreaminferError, TensorSpec

NORMALIZE = "normalize"


@dataclass(frozen=True)
class Recipe:
    """What is done to the states of a text's tokens."""

    folder: Path
    """Of the encoder."""
    modes: tuple[str, ...] = ("mean_tokens",)
    normalize: bool = False
    lower: bool = False
    limit: int = MAX_LENGTH


class Embedder(TextModel):
    """An encoder, pooling, and perhaps vectors of length 1."""

    def __init__(self, source: Source, recipe: Recipe) -> None:
        """Raises `StreaminferError` where the folder cannot be loaded."""
        inner = replace(source, path=recipe.folder)
        super().__init__(open_encoder(inner, "AutoModel"), inner, recipe.limit)
        if self.tokenizer is None and (source.path / "tokenizer.json").exists():
            raise refuse(f"tokenizer.json must be in {recipe.folder}, beside the encoder")
        self.recipe = recipe
        size = int(self.encoder.config.hidden_size) * len(recipe.modes)
        signature = Signature([self.spec()], [TensorSpec("embedding", "float32", [size])], "embedding")
        self.info = ModelInfo("predict", signature=signature, **facts(self.encoder))

    def prepare(self, rows: Rows) -> Rows:
        """See `TextModel.prepare`."""
        return self._rows(list(rows.columns["inputs"]), False)

    def embed(self, request: Embed) -> tuple[Rows, int]:
        """See `PredictModel.embed`; the pooling is the model's own."""
        if request.pooling != "mean":
            raise StreaminferError(
                "invalid_request",
                f"this model pools as it was made to ({', '.join(self.recipe.modes)}); leave pooling out",
                field="pooling",
            )
        rows = self._rows(list(request.inputs), request.normalize)
        return rows, sum(len(ids) for ids in rows.columns[IDS])

    def forward(self, batch: Batch) -> torch.Tensor:
        """Vectors ``[B, size]``."""
        mask, scaled = batch[f"{IDS}_mask"], batch[NORMALIZE]
        assert isinstance(mask, torch.Tensor)  # noqa: S101 (as the batch of a column of arrays is made)
        assert isinstance(scaled, torch.Tensor)  # noqa: S101
        vectors = pool(self.encode(batch).last_hidden_state.float(), mask, self.recipe.modes)
        return torch.where(scaled[:, None], torch.nn.functional.normalize(vectors, dim=1), vectors)

    def sample(self, count: int) -> Rows:
        """See `PredictModel.sample`."""
        return self._rows([[0]] * count, False)

    def _rows(self, texts: list[Any], normalize: bool) -> Rows:
        if self.recipe.lower:
            texts = [text.lower() if isinstance(text, str) else text for text in texts]
        scaled = np.full(len(texts), normalize or self.recipe.normalize)
        return Rows({IDS: self.token_ids(texts), NORMALIZE: scaled})


def load_embedder(source: Source) -> Embedder:
    """The encoder in a folder; without ``modules.json``, with the mean of its states."""
    path = source.path / "modules.json"
    if not path.exists():
        return Embedder(source, Recipe(source.path))
    return Embedder(source, _recipe(source.path, path))


def _recipe(folder: Path, path: Path) -> Recipe:
    """What ``modules.json`` of a sentence-transformers folder says, one part after the other."""
    try:
        parts = [(str(part["type"]).rsplit(".", 1)[-1], part["path"]) for part in json.loads(path.read_bytes())]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise refuse("modules.json must be a list of objects with type and path") from None
    kinds = [kind for kind, _ in parts]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise refuse(
            f"modules.json: the parts must be Transformer, Pooling and perhaps Normalize, found {', '.join(kinds):.200}"
        )
    encoder = module_folder(folder, parts[0][1])
    pooling = module_folder(folder, parts[1][1])
    settings = read_optional_json(encoder / "sentence_bert_config.json")
    limit = settings.get("max_seq_length")
    return Recipe(
        encoder,
        read_modes(pooling / "config.json"),
        "Normalize" in kinds,
        settings.get("do_lower_case") is True,
        limit if type(limit) is int and limit > 0 else MAX_LENGTH,
    )
