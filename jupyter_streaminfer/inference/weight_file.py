"""One safetensors file, whole: every tensor in it, checked."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from jupyter_streaminfer.inference.checkpoint import refuse, require_finite
from jupyter_streaminfer.inference.progress import Progress

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class WeightFile:
    """An open file; a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises `StreaminferError` ``invalid_request`` where it is missing or no safetensors, a truncated one say."""
        self._name = path.name
        self._file: Any = None
        if not path.is_file():
            raise refuse(f"{path.name} is missing in {path.parent}")
        try:
            self._file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise refuse(f"{path.name} cannot be read as safetensors: {error}") from error

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file = None

    def shapes(self) -> dict[str, tuple[str, list[int]]]:
        """Each tensor's dtype, as torch writes it, and shape."""
        found: dict[str, tuple[str, list[int]]] = {}
        for name in self._file.keys():  # noqa: SIM118 (it is no dict)
            part = self._file.get_slice(name)
            dtype = DTYPES.get(part.get_dtype())
            if dtype is None:
                raise refuse(
                    f"tensor {name} in {self._name} is {part.get_dtype()}, expected one of {', '.join(DTYPES)}"
                )
            found[name] = str(dtype), list(part.get_shape())
        return found

    def read(self, progress: Progress) -> dict[str, torch.Tensor]:
        """All tensors, with memory of their own, not the file's."""
        sizes = {
            name: torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")), device="meta").nbytes
            for name, (dtype, shape) in self.shapes().items()
        }
        total, done = sum(sizes.values()), 0
        tensors: dict[str, torch.Tensor] = {}
        for name, size in sizes.items():
            # The file may be replaced while the model serves, and pages that are gone end the process.
            tensor: torch.Tensor = self._file.get_tensor(name).clone()
            if tensor.is_floating_point() and tensor.numel():
                require_finite(name, tensor)
            tensors[name] = tensor
            done += size
            progress("reading", done, total)
        return tensors
