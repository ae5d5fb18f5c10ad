"""A ``.pt2`` archive of ``torch.export`` read without running anything that it holds.

What torch would unpickle (sample inputs, tensors of subclasses, custom objects) or load as a library (AOTInductor) is
left out or refused, the graph is checked (`graph_check.py`), and torch gets an archive written anew from what remains.
The numbers of the weights do not pass through it: they are read here.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import nn

from jupyter_streaminfer.inference.checkpoint import refuse, require_finite
from jupyter_streaminfer.inference.graph_check import checked_config, checked_graph
from jupyter_streaminfer.inference.progress import Progress
from jupyter_streaminfer.inference.zip_members import checked_members

MAX_GRAPH_BYTES = 256 * 2**20
MAX_RATIO = 4
"""How much larger than the file its members may be; torch does not compress them."""
MAX_BYTES = 2**40
GRAPH = "models/model.json"
WEIGHTS, CONSTANTS = "data/weights/", "data/constants/"
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""By the numbers that the archive has for them."""


def read_archive(path: Path, progress: Progress) -> torch.export.ExportedProgram:
    """The program in a file, with its weights on the CPU, or on the meta device where the file has none.

    Raises `StreaminferError` ``invalid_request`` that says what is wrong with the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive, path, progress).program()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        raise refuse(f"{path.name} cannot be read as an archive of torch.export (truncated?): {error}") from None


class _Reader:
    """One open archive."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, progress: Progress) -> None:
        self._archive = archive
        self._name = path.name
        self._progress = progress
        self._members = self._checked_members(path)

    def program(self) -> torch.export.ExportedProgram:
        graph = checked_graph(self._read(GRAPH, MAX_GRAPH_BYTES), GRAPH)
        weights = self._config(WEIGHTS + "model_weights_config.json")
        constants = self._config(CONSTANTS + "model_constants_config.json")
        state = self._tensors(weights, WEIGHTS)
        try:
            program = torch.export.load(self._rewritten(graph, weights, constants))
        except Exception as error:  # whatever torch makes of a graph that is none
            raise refuse(f"torch.export cannot load {self._name}: {type(error).__name__}: {error}") from error
        program.state_dict.update(state)
        return program

    def _checked_members(self, path: Path) -> dict[str, zipfile.ZipInfo]:
        """The members by their names below the archive's one folder."""
        members: dict[str, zipfile.ZipInfo] = {}
        for entry in checked_members(self._archive, path, MAX_RATIO, MAX_BYTES):
            members[str(PurePosixPath(*PurePosixPath(entry.filename).parts[1:]))] = entry
        for name in members:
            if name.startswith(("data/aotinductor/", "data/executorch/")):
                raise refuse(
                    f"{self._name} holds a compiled library ({name!r:.80}), which runs code as it is loaded. Write it"
                    " with torch.export.save, not with the packagers of AOTInductor or ExecuTorch"
                )
        models = [name for name in members if name.startswith("models/")]
        if models != [GRAPH]:
            found = ", ".join(sorted(models)) or "none"
            raise refuse(
                f"{self._name} must hold one program, {GRAPH}, found {found:.200}. Write it with torch.export.save of"
                " torch 2.9 or later"
            )
        return members

    def _read(self, name: str, limit: int) -> bytes:
        entry = self._members.get(name)
        if entry is None:
            raise refuse(f"{self._name} has no member {name!r:.80}")
        if entry.file_size > limit:
            raise refuse(f"{name} in {self._name} has {entry.file_size} bytes, more than {limit}")
        return self._archive.read(entry)

    def _config(self, name: str) -> dict[str, dict[str, Any]]:
        return checked_config(self._read(name, MAX_GRAPH_BYTES), name)

    def _tensors(self, config: dict[str, dict[str, Any]], folder: str) -> dict[str, torch.Tensor]:
        """The weights that the file has; tensors of one member share its memory."""
        total = sum(self._size(folder + entry["path_name"]) for entry in _first_of_each(config))
        storages: dict[str, torch.Tensor] = {}
        tensors: dict[str, torch.Tensor] = {}
        for name, entry in config.items():
            member = folder + entry["path_name"]
            if self._size(member) == 0:
                continue
            if member not in storages:
                storages[member] = torch.frombuffer(bytearray(self._read(member, total)), dtype=torch.uint8)
                self._progress("reading", sum(each.nbytes for each in storages.values()), total)
            meta = entry["tensor_meta"]
            dtype = _dtype(name, meta)
            try:
                tensor = storages[member].view(dtype).as_strided(*_strides(meta))
            except (RuntimeError, LookupError, TypeError) as error:
                raise refuse(
                    f"tensor {name} in {self._name} does not fit its {self._size(member)} bytes: {error}"
                ) from None
            if tensor.is_floating_point() and tensor.numel():
                require_finite(name, tensor)
            tensors[name] = nn.Parameter(tensor, requires_grad=False) if entry["is_param"] else tensor
        return tensors

    def _size(self, member: str) -> int:
        if member not in self._members:
            raise refuse(f"{self._name} has no member {member!r:.80}")
        return self._members[member].file_size

    def _rewritten(
        self, graph: bytes, weights: dict[str, dict[str, Any]], constants: dict[str, dict[str, Any]]
    ) -> io.BytesIO:
        """An archive with this graph, these constants, and weights without numbers on the meta device."""
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as archive:

            def write(name: str, content: bytes) -> None:
                archive.writestr(f"archive/{name}", content)

            for name in ("archive_format", "archive_version", "byteorder"):
                write(name, self._read(name, 64))
            write(".data/version", b"6\n")
            write(GRAPH, graph)
            write("data/sample_inputs/model.pt", b"")
            for index, entry in enumerate(weights.values()):
                entry["tensor_meta"] |= {"device": {"type": "meta", "index": None}, "requires_grad": False}
                entry["path_name"] = f"weight_{index}"
                write(f"{WEIGHTS}weight_{index}", b"")
            write(f"{WEIGHTS}model_weights_config.json", json.dumps({"config": weights}).encode())
            for name, entry in constants.items():
                self._check_constant(name, entry)
            for entry in _first_of_each(constants):
                write(CONSTANTS + entry["path_name"], self._read(CONSTANTS + entry["path_name"], MAX_GRAPH_BYTES))
            write(f"{CONSTANTS}model_constants_config.json", json.dumps({"config": constants}).encode())
        written.seek(0)
        return written

    def _check_constant(self, name: str, entry: dict[str, Any]) -> None:
        """Refuse a constant that is no tensor, or claims numbers that the file does not have."""
        path = entry["path_name"]
        if not path.startswith("tensor_"):
            raise refuse(f"constant {name} in {self._name} is an object of a custom class, which is not supported")
        meta = entry["tensor_meta"]
        sizes, _, _ = _strides(meta)
        if not self._size(CONSTANTS + path) and 0 not in sizes:
            raise refuse(f"constant {name} in {self._name} has no numbers")
        _dtype(name, meta)
        entry["tensor_meta"]["device"] = {"type": "cpu", "index": None}


def _first_of_each(config: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each member of the archive."""
    return list({entry["path_name"]: entry for entry in reversed(config.values())}.values())


def _dtype(name: str, meta: dict[str, Any]) -> torch.dtype:
    found = DTYPES.get(meta.get("dtype", -1))
    if found is None:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES.values())
        raise refuse(f"tensor {name} in the archive is of a dtype that is not supported, expected one of {names}")
    return found


def _strides(meta: dict[str, Any]) -> tuple[list[int], list[int], int]:
    """A tensor's sizes, strides and offset, plain numbers all."""
    sizes = [each["as_int"] for each in meta["sizes"]]
    strides = [each["as_int"] for each in meta["strides"]]
    offset = meta["storage_offset"]["as_int"]
    if not all(type(each) is int and 0 <= each < 2**48 for each in (*sizes, *strides, offset)):
        raise refuse("the archive has a tensor whose sizes are no numbers")
    return sizes, strides, offset
