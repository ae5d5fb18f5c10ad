"""One upload on disk: the files that came so far, in a folder that becomes a version by one rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_streaminfer.engine.stored_file import is_folder, open_file, sync, write_manifest
from jupyter_streaminfer.engine.upload_checks import UploadLostError, check_arrived, model_source
from jupyter_streaminfer.protocol import BeginUpload, ModelFile, StoredModel, StreaminferError

if TYPE_CHECKING:
    from hashlib import _Hash

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


Content = tuple[str, int]
"""What two files are the same by: SHA-256 and size."""


class Upload:
    """The files of a version that is on its way. Every method but `file` touches the disk, and none beside another."""

    def __init__(self, id: str, request: BeginUpload, version: str, client: str) -> None:
        """``client`` is whose it is."""
        self.id = id
        self.name = request.name
        self.version = version
        self.client = client
        self.files = {file.name: file for file in request.files}
        self.received = dict.fromkeys(self.files, 0)
        """Bytes that are there, by file."""
        self._folder = Path()
        self._digests: dict[str, _Hash] = {name: hashlib.sha256() for name in self.files}

    @property
    def nbytes(self) -> int:
        """What all files take when they are there."""
        return sum(file.size for file in self.files.values())

    def begin(self, workplace: Path, known: Mapping[Content, Path]) -> None:
        """Make a folder in ``workplace`` and take over the files that are ``known`` already, by their contents."""
        with disk():
            self._folder = workplace / self.id
            self._folder.mkdir()
            for file in self.files.values():
                if (source := known.get((file.sha256, file.size))) is not None and _link(
                    source, self._folder / file.name
                ):
                    self.received[file.name] = file.size
                else:
                    os.close(open_file(self._folder / file.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                    self._complete(file)

    def file(self, name: str) -> ModelFile:
        """A file that was announced; raises `StreaminferError`."""
        try:
            return self.files[name]
        except KeyError:
            raise StreaminferError(
                "upload_not_found",
                f"Upload {self.id} has no file {name[:140]!r}: only those that its beginning announced. Abort it and "
                "begin another one.",
                field="file",
            ) from None

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Add what follows the bytes that are there, and compare the checksum of a file that is whole."""
        file = self.file(name)
        if offset != self.received[name]:
            raise StreaminferError(
                "invalid_request",
                f"{name} has {self.received[name]} bytes here. Go on at that offset, not at {offset}.",
                field="offset",
            )
        if offset + len(data) > file.size:
            raise StreaminferError(
                "too_large",
                f"{name} was announced with {file.size} bytes. Abort the upload and begin again.",
                field="file",
            )
        with disk(), os.fdopen(open_file(self._folder / name, os.O_WRONLY), "wb") as opened:
            opened.seek(offset)
            opened.write(data)
        self._digests[name].update(data)
        self.received[name] += len(data)
        if data:
            self._complete(file)

    def _complete(self, file: ModelFile) -> None:
        """Forget what came of a file that is whole and not the one that was announced."""
        name = file.name
        if self.received[name] < file.size or self._digests[name].hexdigest() == file.sha256:
            return
        self.received[name] = 0
        self._digests[name] = hashlib.sha256()
        raise StreaminferError(
            "invalid_request",
            f"What came of {name} does not have the SHA-256 that was announced. Send it again from offset 0.",
            field="file",
        )

    def commit(self, root: Path) -> StoredModel:
        """Check what came, and make it ``root/NAME/VERSION`` by one rename."""
        for file in self.files.values():
            if self.received[file.name] < file.size:
                raise StreaminferError(
                    "invalid_request",
                    f"{file.name} has {self.received[file.name]} of {file.size} bytes. Send the rest, then commit.",
                    field="offset",
                )
        for name in self.files:
            check_arrived(self._folder / name)
        files = list(self.files.values())
        target = root / self.name / self.version
        with disk():
            write_manifest(self._folder, files)
            target.parent.mkdir(exist_ok=True)
            if not is_folder(target.parent) or os.path.lexists(target):
                raise in_store(self.name, self.version)
            try:
                self._folder.rename(target)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise in_store(self.name, self.version) from None
                raise
            sync(target.parent)
        source = model_source(list(self.files))
        return StoredModel(self.name, self.version, str(target / source if source else target), files)

    def abort(self) -> None:
        """Leave nothing behind."""
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)


def in_store(name: str, version: str) -> UploadLostError:
    """The refusal of a version that is there already."""
    return UploadLostError(
        "invalid_request",
        f"Version {version} of {name!r} is in the store already, and versions do not change. Leave version out for the "
        "next number, or give another one.",
        field="version",
    )


def _link(source: Path, target: Path) -> bool:
    """Whether the same file is in two places now: one with two names, or where that cannot be a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        try:
            shutil.copy2(source, target, follow_symlinks=False)
        except OSError:
            with suppress(OSError):
                target.unlink()
            return False
    return True


@contextmanager
def disk() -> Iterator[None]:
    """What the disk refuses, told as what it means for the upload."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            reason = "The disk of the store is full. Free some of it, and begin again."
            raise UploadLostError("overloaded", reason) from error
        raise UploadLostError("internal", f"The store cannot be written: {error.strerror or error}.") from error
