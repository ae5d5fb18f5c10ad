"""What a model's files must be before they become a version: told early, and by the file's name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from jupyter_streaminfer.engine.stored_file import open_file
from jupyter_streaminfer.protocol import FILE_PATTERN, ModelFile, StreaminferError

MAX_CONFIG_BYTES = 4 * 2**20
"""A ``config.json``."""
MAX_HEADER_BYTES = 100_000_000
"""A safetensors file's header: the format's own bound."""
WHOLE = (".pt2", ".skops")
"""What is a model by itself."""


class UploadLostError(StreaminferError):
    """An upload that cannot go on, whatever comes: its disk is full, or what came is damaged."""


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
_header = msgspec.json.Decoder(dict[str, msgspec.Raw])
_tensor = msgspec.json.Decoder(_Tensor)


def check_announced(files: Sequence[ModelFile]) -> None:
    """Refuse names that no file may have or that come twice, and files that are no model together."""
    names = [file.name for file in files]
    for name in names:
        if FILE_PATTERN.fullmatch(name) is None:
            raise _refuse(
                "files",
                f"{name[:140]!r} is no name of a model's file. It has up to 128 letters, digits, '.', '_' and '-', no "
                "folder, and ends as one of .json, .safetensors, .pt2, .skops, .txt, .model, .jinja",
            )
    if len({name.casefold() for name in names}) < len(names):
        raise _refuse("files", "A file is announced twice, or two differ only in the case of letters. Rename one")
    for file in files:
        if file.name == "config.json" and file.size > MAX_CONFIG_BYTES:
            raise _refuse("files", f"config.json may have {MAX_CONFIG_BYTES} bytes, not {file.size}")
    model_source(names)


def model_source(names: Sequence[str]) -> str | None:
    """The one file that the model is, None where it is the folder; raises `StreaminferError` where it is neither."""
    if "config.json" in names:
        return None
    whole = [name for name in names if name.endswith(WHOLE)]
    if len(whole) != 1:
        raise _refuse("files", "A model has a config.json, or is one .pt2 or .skops file. Add what is missing")
    return whole[0]


def check_arrived(path: Path) -> None:
    """Refuse a ``config.json`` that is no object, and a safetensors file that does not hold what its header says."""
    try:
        if path.name == "config.json":
            _check_config(path)
        elif path.suffix == ".safetensors":
            _check_safetensors(path)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refuse(path.name, f"{path.name} is damaged: {error}. Write it again") from None


def _check_config(path: Path) -> None:
    with os.fdopen(open_file(path), "rb") as file:
        config = msgspec.json.decode(file.read(MAX_CONFIG_BYTES))
    if not isinstance(config, dict):
        raise _refuse(path.name, f"config.json must hold a JSON object, not {type(config).__name__}")


def _check_safetensors(path: Path) -> None:
    """Eight bytes of length, a header of JSON, and the tensors one after the other up to the file's end."""
    with os.fdopen(open_file(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise _truncated(path, f"its header takes {length} bytes, and it has {max(0, size - 8)}")
        header = _header.decode(file.read(length))
    tensors = {name: _tensor.decode(raw) for name, raw in header.items() if name != "__metadata__"}
    for name, tensor in tensors.items():
        _check_tensor(path, name, tensor)
    places = sorted(tensor.data_offsets for tensor in tensors.values())
    if any(before[1] != after[0] for before, after in pairwise([(0, 0), *places])):
        raise _refuse(path.name, f"{path.name} is damaged: its tensors overlap or have gaps. Write it again")
    end = places[-1][1] if places else 0
    if end != size - 8 - length:
        raise _truncated(path, f"its tensors take {end} bytes, and it has {size - 8 - length}")


def _check_tensor(path: Path, name: str, tensor: _Tensor) -> None:
    begin, end = tensor.data_offsets
    count = 1
    for dimension in tensor.shape:
        count *= dimension
    if min(tensor.shape, default=0) < 0 or not 0 <= begin <= end:
        raise _refuse(path.name, f"{path.name}: tensor {name[:100]!r} has a negative shape or place. Write it again")
    bytes_each = _BYTES.get(tensor.dtype)
    if bytes_each is not None and count * bytes_each != end - begin:
        raise _refuse(
            path.name,
            f"{path.name}: tensor {name[:100]!r} of {tensor.dtype} {tensor.shape[:8]} takes {count * bytes_each} bytes "
            f"and has {end - begin}. Write it again",
        )


def _truncated(path: Path, reason: str) -> UploadLostError:
    return _refuse(path.name, f"{path.name} is truncated or damaged: {reason}. Write it again")


def _refuse(field: str, reason: str) -> UploadLostError:
    return UploadLostError("invalid_request", f"{reason}.", field=field)
