"""From a vector for each token to one for the text."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import torch

from jupyter_streaminfer.inference.checkpoint import read_json, refuse

MODES = ("cls_token", "lasttoken", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens")
"""As ``1_Pooling/config.json`` has them, after ``pooling_mode_``, in the order in which several are joined."""
SHORT = {"cls": "cls_token", "lasttoken": "lasttoken", "max": "max_tokens", "mean": "mean_tokens"}
"""As its field ``pooling_mode`` has them."""


def pool(states: torch.Tensor, mask: torch.Tensor, modes: tuple[str, ...]) -> torch.Tensor:
    """``[B, size]`` of ``[B, L, hidden]`` states, where ``mask`` is true; several ``modes`` side by side."""
    weights = mask[..., None].to(states.dtype)
    pooled = []
    for mode in modes:
        if mode == "cls_token":
            pooled.append(states[:, 0])
        elif mode == "lasttoken":
            pooled.append(states[torch.arange(len(states), device=states.device), mask.sum(1) - 1])
        elif mode == "max_tokens":
            pooled.append(states.masked_fill(~mask[..., None], -torch.inf).amax(1))
        else:
            count = weights.sum(1)
            pooled.append((states * weights).sum(1) / (count if mode == "mean_tokens" else count.sqrt()))
    return torch.cat(pooled, 1)


def read_modes(path: Path) -> tuple[str, ...]:
    """The modes of a ``1_Pooling/config.json``; `StreaminferError` where it has none of ours."""
    values = read_json(path)
    short = values.get("pooling_mode")
    if short is not None:
        names = short if isinstance(short, list) else [short]
        modes = tuple(SHORT.get(name, "") if isinstance(name, str) else "" for name in names)
    else:
        modes = tuple(mode for mode in MODES if values.get(f"pooling_mode_{mode}") is True)
        others = [name for name, on in values.items() if name.startswith("pooling_mode_") and on is True]
        modes = modes if len(others) == len(modes) else ()
    if not modes or "" in modes:
        raise refuse(f"{path.parent.name}/{path.name}: the pooling must be one or more of {', '.join(MODES)}")
    return modes


def module_folder(folder: Path, name: object) -> Path:
    """The folder of a part of a model; `StreaminferError` where its name leads elsewhere."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ("..",)
    if len(parts) > 1 or ".." in parts or "\\" in str(name) or PurePosixPath(str(name)).is_absolute():
        raise refuse(f"modules.json: {name!r:.80} is no folder of the model's own")
    return folder / str(name)
