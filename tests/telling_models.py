"""Models whose answers tell which one gave them, so that no version can pass for another."""

from __future__ import annotations

import json
from pathlib import Path

from predicting import predict, rows

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import Result

NUMBERS = 64
WIDTH = 4
ROW = [0.5] * WIDTH
"""What it is asked; any row would do."""


def telling(folder: Path, number: int, *, hidden: int = 8) -> Path:
    """Write a classifier that says ``number``, below `NUMBERS`, of whatever it is asked; larger with ``hidden``."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["MlpClassifier"],
        "input_shape": [WIDTH],
        "hidden_sizes": [hidden],
        "labels": [str(each) for each in range(NUMBERS)],
    }
    (folder / "config.json").write_text(json.dumps(config))
    answer = torch.zeros(NUMBERS)
    answer[number] = 20.0
    tensors = {
        "layers.0.weight": torch.zeros(hidden, WIDTH),
        "layers.0.bias": torch.zeros(hidden),
        "layers.1.weight": torch.zeros(NUMBERS, hidden),
        "layers.1.bias": answer,
    }
    save_file(tensors, str(folder / "model.safetensors"))
    return folder


def broken(folder: Path, number: int = 0) -> Path:
    """The same with half of its weights' file: as an interrupted copy leaves it."""
    weights = telling(folder, number) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return folder


def told(answer: Result) -> int:
    """Which model gave that answer; the rows of one must agree."""
    (label,) = {row["label"] for row in rows(answer)}
    return int(label)


async def ask(engine: Engine, ref: str, count: int = 1) -> Result:
    """Ask a model about a few rows."""
    return await engine.predict(predict("p", ref, [ROW] * count))
