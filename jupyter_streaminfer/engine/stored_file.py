"""Files of models on disk: what is one, how it is read without leaving its folder, and what its checksum is."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from jupyter_streaminfer.protocol import FILE_PATTERN, MAX_UPLOAD_FILES, ModelFile

MANIFEST = ".files.json"
"""The checksums of a version in the store; no file that a client names can be called so."""
READ_BYTES = 2**20
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Checked(msgspec.Struct, frozen=True):
    """A file whose checksum is known, as long as it is what it was: its size and time of change say so."""

    file: ModelFile
    mtime_ns: int


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file; raises `OSError` for anything else, a symbolic link among it."""
    descriptor = os.open(path, flags | _NO_LINK, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{path} is no regular file")
    return descriptor


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def model_files(source: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The regular files that a model has and that have a name that one may have; a model may be one file."""
    found = 0
    with suppress(OSError):
        for path in sorted(source.iterdir()) if source.is_dir() else [source]:
            seen = path.lstat()
            if FILE_PATTERN.fullmatch(path.name) and stat.S_ISREG(seen.st_mode) and found < MAX_UPLOAD_FILES:
                found += 1
                yield path, seen


def checksum(path: Path) -> ModelFile:
    """A file with its size and SHA-256, read now."""
    digest, size = hashlib.sha256(), 0
    with os.fdopen(open_file(path), "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
            size += len(block)
    return ModelFile(path.name, size, digest.hexdigest())


def read_manifest(folder: Path) -> dict[str, Checked]:
    """What is known of the files in a folder, by name; nothing where that was not kept, or cannot be read."""
    try:
        with os.fdopen(open_file(folder / MANIFEST), "rb") as file:
            known = msgspec.json.decode(file.read(READ_BYTES), type=list[Checked])
    except (OSError, msgspec.DecodeError):
        return {}
    return {each.file.name: each for each in known}


def write_manifest(folder: Path, files: list[ModelFile]) -> None:
    """Keep the checksums of a folder's files, which are on the disk when this returns."""
    known = [Checked(file, (folder / file.name).lstat().st_mtime_ns) for file in files]
    descriptor = open_file(folder / MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(descriptor, "wb") as manifest:
        manifest.write(msgspec.json.encode(known))
    for name in (MANIFEST, *(file.name for file in files)):
        sync(folder / name)
    sync(folder)


def sync(path: Path) -> None:
    """Have what was written to a file or folder on the disk, where the system can tell."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Checksums:
    """The files of models with their checksums, each read once as long as it stays as it is."""

    MOST = 1024
    """Files outside the store that are remembered."""

    def __init__(self) -> None:
        self._known: dict[Path, Checked] = {}

    def of(self, source: Path) -> list[ModelFile]:
        """Every file of a model, by name; long where large files are read for the first time."""
        manifest = read_manifest(source)
        return [
            self._of(path, seen, manifest.get(path.name) or self._known.get(path)) for path, seen in model_files(source)
        ]

    def _of(self, path: Path, seen: os.stat_result, known: Checked | None) -> ModelFile:
        if known is not None and (known.file.size, known.mtime_ns) == (seen.st_size, seen.st_mtime_ns):
            return known.file
        file = checksum(path)
        while len(self._known) >= self.MOST:
            self._known.pop(next(iter(self._known)), None)
        self._known[path] = Checked(file, seen.st_mtime_ns)
        return file
