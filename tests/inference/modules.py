"""Small modules, and the archives that are made of them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jupyter_streaminfer.protocol import Signature, TensorSpec

LABELS = ["low", "middle", "high"]


class Mlp(nn.Module):
    """16 numbers to 3, with what modules have: a buffer, one that is not kept, dropout, a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout()
        self.last = nn.Linear(8, 3)
        self.register_buffer("shift", torch.full((16,), 0.5))
        self.register_buffer("scale", torch.full((16,), 2.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.dropout(self.norm(self.first((x - self.shift) * self.scale)).relu()))


class Masked(nn.Module):
    """Token ids of any length to 3 numbers, by attention, with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, tokens: torch.Tensor, tokens_mask: torch.Tensor) -> torch.Tensor:
        states = self.layer(self.embedding(tokens), src_key_padding_mask=~tokens_mask)
        weights = tokens_mask[..., None].to(states.dtype)
        return self.last((states * weights).sum(1) / weights.sum(1))


class Unmasked(nn.Module):
    """Numbers of any length to as many, their mean, and how many there are."""

    def forward(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"squares": values * values, "mean": values.mean(1)}


TOKENS = TensorSpec("tokens", "int64", [None], minimum=0, maximum=49, max_length=40)
CLASSES = Signature([TensorSpec("x", "float32", [16])], kind="classes", labels=LABELS)


def seeded(module: Callable[[], nn.Module]) -> Any:
    """The module with the same random numbers every time."""
    torch.manual_seed(0)
    return module()


def rows(count: int) -> torch.Tensor:
    """``[count, 16]``."""
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(0))


def export(module: nn.Module, *example: torch.Tensor, path: Path, dynamic: bool = True) -> Path:
    """Write what ``torch.export.save`` makes of a module, with rows of any number."""
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in example) if dynamic else None
    torch.export.save(torch.export.export(module.eval(), example, dynamic_shapes=shapes), path)
    return path


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Change the members of an archive, by their names below its folder."""
    with zipfile.ZipFile(path) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return path


def edit_graph(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the graph of an archive."""

    def edit(members: dict[str, bytes]) -> None:
        graph = json.loads(members["models/model.json"])
        change(graph)
        members["models/model.json"] = json.dumps(graph).encode()

    return rewrite(path, edit)
