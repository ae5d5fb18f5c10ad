"""What a model is to be loaded from, and what may be done for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jupyter_streaminfer.inference.checkpoint import refuse
from jupyter_streaminfer.inference.progress import Progress, silent
from jupyter_streaminfer.protocol import DType, Signature


@dataclass(frozen=True)
class Source:
    """What every loader of a model that predicts gets."""

    path: Path
    device: torch.device
    dtype: DType = "auto"
    signature: Signature | None = None
    """Of a file or a function that does not say it itself."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """For a function."""
    allowed_factories: Sequence[str] = ()
    allow_torchscript: bool = False
    skops_trusted: Sequence[str] = ()
    progress: Progress = silent

    def float_type(self) -> torch.dtype:
        """What weights are kept in, where the model can choose; `StreaminferError` where it cannot be that."""
        if self.dtype == "int8":
            raise refuse("int8 is for the Llama family only; use auto, float32 or bfloat16", "dtype")
        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32

    def keep_type(self) -> None:
        """Refuse a dtype where the model has its own."""
        if self.dtype != "auto":
            raise refuse(
                f"the model is computed in the types that it has; dtype must be auto, found {self.dtype}", "dtype"
            )

    def keep_arguments(self) -> None:
        """Refuse arguments where there is no function for them."""
        if self.arguments:
            raise refuse("arguments are for a module:function only; this is a file or a folder", "arguments")
