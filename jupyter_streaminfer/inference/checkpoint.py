"""A model folder on disk: its JSON files and its safetensors, checked before anything is allocated.

The folder is untrusted: nothing in it is executed or unpickled, file names may not leave it, and every
number and shape is compared with what the architecture expects. Whatever is wrong is a
`StreaminferError` ``invalid_request`` that names the file or tensor and what was expected.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from jupyter_streaminfer.protocol import StreaminferError

MAX_JSON_BYTES = 64 * 2**20
FLOAT_DTYPES = {"F32", "BF16", "F16"}


class UnsupportedError(StreaminferError):
    """A variant that the lean forward does not compute; the general path may."""

    def __init__(self, reason: str) -> None:
        super().__init__("invalid_request", reason, field="path")


def refuse(reason: str, field: str = "path") -> StreaminferError:
    """The error with which a folder that cannot be loaded is refused."""
    return StreaminferError("invalid_request", reason, field=field)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; refused when missing, too long or not an object."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise refuse(f"{path.name} is larger than {MAX_JSON_BYTES} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise refuse(f"{path.name} is missing in {path.parent}: expected a model folder that has it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise refuse(f"{path.name} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise refuse(f"{path.name} must hold a JSON object, found {type(value).__name__}")
    return value


def read_optional_json(path: Path) -> dict[str, Any]:
    """Like `read_json`, but a missing file is an empty object."""
    return read_json(path) if path.exists() else {}


def require_finite(name: str, tensor: torch.Tensor) -> None:
    """Refuse weights with NaN or infinity in them."""
    # A NaN anywhere is both the least and the greatest, so this is one pass without a mask as large as the tensor.
    if not torch.stack(torch.aminmax(tensor)).isfinite().all():
        raise refuse(f"tensor {name} holds NaN or infinity, expected finite numbers")


class Config:
    """``config.json``, read field by field with a type and bounds."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def integer(self, field: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number within ``low..high``; a null or absent field is ``default`` where there is one."""
        value = self.values.get(field)
        if value is None and default is not None:
            value = default
        if type(value) is not int or not low <= value <= high:
            raise refuse(f"config.json: {field} must be a whole number from {low} to {high}, found {value!r:.80}")
        return value

    def number(self, field: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number within ``low..high``; a null or absent field is ``default`` where there is one."""
        value = self.values.get(field)
        if value is None and default is not None:
            value = default
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
            raise refuse(f"config.json: {field} must be a number from {low} to {high}, found {value!r:.80}")
        return float(value)  # type: ignore[arg-type]

    def flag(self, field: str, default: bool) -> bool:
        value = self.values.get(field, default)
        if not isinstance(value, bool):
            raise refuse(f"config.json: {field} must be true or false, found {value!r:.80}")
        return value

    def require(self, field: str, expected: object, default: object) -> None:
        """Raise `UnsupportedError` for a variant that is not implemented: ``field`` must be ``expected``."""
        value = self.values.get(field, default)
        if value != expected:
            raise UnsupportedError(f"config.json: {field} = {value!r:.80} is not supported, expected {expected!r}")

    def architecture(self) -> str:
        """The one entry of ``architectures``."""
        names = self.values.get("architectures")
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
            raise refuse(f"config.json: architectures must be a list of one name, found {names!r:.80}")
        return names[0]


class Checkpoint:
    """The tensors of a folder: ``model.safetensors``, or the shards of ``model.safetensors.index.json``.

    A context manager; the files are open while it is entered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Any] = {}
        self.owners: dict[str, str] = {}

    def __enter__(self) -> Checkpoint:
        if (self.folder / "model.safetensors").exists():
            self.owners = dict.fromkeys(self._open("model.safetensors").keys(), "model.safetensors")
            return self
        index = self.folder / "model.safetensors.index.json"
        if not index.exists():
            raise refuse(
                f"model.safetensors is missing in {self.folder}: expected it, or model.safetensors.index.json with its"
                " shards (pickled weights such as pytorch_model.bin are never read)"
            )
        owners = read_json(index).get("weight_map")
        if not isinstance(owners, dict) or not all(isinstance(name, str) for name in owners.values()):
            raise refuse(f"{index.name}: weight_map must map tensor names to file names")
        for name in sorted(set(owners.values())):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise refuse(f"{index.name}: {name!r:.80} is not the name of a .safetensors file in the folder")
            self._open(name)
        self.owners = owners
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.files.clear()

    def _open(self, name: str) -> Any:
        path = self.folder / name
        if not path.is_file():
            raise refuse(f"{name} is missing in {self.folder}: the index names it")
        try:
            self.files[name] = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise refuse(f"{name} cannot be read as safetensors: {error}") from error
        return self.files[name]

    def __contains__(self, name: str) -> bool:
        return name in self.owners

    def tensor(self, name: str, *shape: int) -> torch.Tensor:
        """The tensor ``name`` as float32, which must have exactly ``shape``."""
        return self.stored(name, *shape).to(torch.float32)

    def stored(self, name: str, *shape: int) -> torch.Tensor:
        """Like `tensor`, in the dtype of the file, and perhaps a view of it: copy what is kept."""
        if name not in self.owners:
            raise refuse(f"tensor {name} is missing: expected it with shape {list(shape)}")
        try:
            part = self.files[self.owners[name]].get_slice(name)
            found, dtype = list(part.get_shape()), part.get_dtype()
        except SafetensorError as error:
            raise refuse(f"tensor {name} is missing in {self.owners[name]}, where the index says it is") from error
        if found != list(shape):
            raise refuse(f"tensor {name} has shape {found}, expected {list(shape)}")
        if dtype not in FLOAT_DTYPES:
            raise refuse(f"tensor {name} is {dtype}, expected one of {', '.join(sorted(FLOAT_DTYPES))}")
        value: torch.Tensor = part[:]
        require_finite(name, value)
        return value
