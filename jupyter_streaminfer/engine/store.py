"""The store: versions of models that were uploaded, a folder each, which nothing can leave."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from jupyter_streaminfer.engine.config import EngineConfig
from jupyter_streaminfer.engine.stored_file import Checksums, is_folder, model_files, open_file, read_manifest
from jupyter_streaminfer.engine.upload import Content, Upload, disk, in_store
from jupyter_streaminfer.engine.workplace import Workplace
from jupyter_streaminfer.protocol import (
    MAX_CHUNK_BYTES,
    NAME_PATTERN,
    VERSION_PATTERN,
    ModelFile,
    ModelStatus,
    StoredModel,
    StreaminferError,
)

T = TypeVar("T")

THREADS = 4
LATEST = "latest"
_FREE = ("failed", "unloaded")
"""States of versions that read none of their files."""

Listed = Callable[[str], list[ModelStatus]]
"""The versions of a model that the engine knows, the latest first."""


class Store:
    """``FOLDER/NAME/VERSION/FILE``. What is in it came by an upload and does not change.

    Its coroutines may be called on the event loop, and touch the disk beside it; the other methods are what
    `Uploads` runs there. Every refusal is a `StreaminferError`.
    """

    def __init__(self, config: EngineConfig, listed: Listed) -> None:
        """``listed`` is called on the loop."""
        self._config = config
        self._listed = listed
        self._root = Path(config.store_dir).expanduser().resolve() if config.store_dir else None
        self._workplace = None if self._root is None else Workplace(self._root)
        self._checksums = Checksums()
        self._executor: ThreadPoolExecutor | None = None
        self._closed = False

    # On the loop.

    async def run(self, work: Callable[[], T]) -> T:
        """Do what touches the disk beside the loop."""
        if self._closed:
            raise StreaminferError("overloaded", "The engine is stopping. Ask again when it is back.", retryable=True)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS, "streaminfer-store")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def sweep(self) -> None:
        """Remove what uploads left behind whose engine is gone."""
        if (workplace := self._workplace) is not None:
            await self.run(workplace.sweep)

    async def close(self) -> None:
        """Give the threads back; uploads are to be closed before."""
        if self._closed:
            return
        if (workplace := self._workplace) is not None and self._executor is not None:
            await self.run(workplace.close)
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown(wait=False)

    async def stored_versions(self, name: str) -> list[str]:
        """The versions of a model that are in the store, the oldest first."""
        _check(name, NAME_PATTERN.fullmatch(name) is not None, "name")
        return await self.run(lambda: [folder.name for folder in self._versions(name)])

    async def files(self, name: str, version: str = LATEST) -> list[ModelFile]:
        """The files of a version that is loaded or in the store; the first time all of them are read."""
        source = await self._source(name, version)
        return await self.run(lambda: self._checksums.of(source))

    async def read(self, name: str, version: str, file: str, offset: int = 0, length: int = MAX_CHUNK_BYTES) -> bytes:
        """At most `MAX_CHUNK_BYTES` of a file; empty at its end."""
        source = await self._source(name, version)
        return await self.run(lambda: self._read(source, file, offset, min(length, MAX_CHUNK_BYTES)))

    async def remove(self, name: str, version: str) -> None:
        """Remove a version from the store; one that is loaded stays."""
        folder = await self.run(lambda: self._folder(name, version))
        if any(Path(each.path).is_relative_to(folder) for each in self._listed(name) if each.state not in _FREE):
            raise StreaminferError(
                "invalid_request", f"Version {version} of {name!r} is loaded. Unload it first.", field="version"
            )
        await self.run(lambda: self._remove(folder))

    async def _source(self, name: str, version: str) -> Path:
        for each in self._listed(name):
            # What cannot be loaded may be no model at all, but any folder of the server's.
            if version in (LATEST, each.version) and each.state not in ("loading", "failed"):
                return Path(each.path)
        return await self.run(lambda: self._folder(name, version))

    # Beside the loop.

    def new_version(self, name: str, wanted: str | None, taken: Iterable[str]) -> str:
        """What an upload's version is called: as it was ``wanted``, else the next number after all that there are."""
        taken = [*taken, *(each.version for each in self._listed(name) if each.state != "failed")]
        if wanted is None:
            return str(1 + max((int(each) for each in taken if each.isascii() and each.isdecimal()), default=0))
        _check(wanted, VERSION_PATTERN.fullmatch(wanted) is not None and wanted != LATEST, "version")
        if wanted in taken:
            raise in_store(name, wanted)
        return wanted

    def begin(self, upload: Upload, reserved: int) -> None:
        """Make an upload's folder, if its files fit beside what others ``reserved``."""
        if self._workplace is None:
            raise StreaminferError(
                "invalid_request",
                "This engine has no store for models. Give it a folder: c.StreaminferApp.store_dir, or "
                "EngineConfig.store_dir.",
            )
        with disk():
            workplace = self._workplace.open()
            known = self._known(upload.name)
            new = sum(file.size for file in upload.files.values() if (file.sha256, file.size) not in known)
            self._check_room(upload, new, reserved)
            upload.begin(workplace, known)

    def commit(self, upload: Upload) -> StoredModel:
        """Make a version of an upload."""
        assert self._root is not None  # noqa: S101 (there is an upload)
        return upload.commit(self._root)

    def _known(self, name: str) -> dict[Content, Path]:
        """The files of a model's versions, as they were when they came."""
        return {
            (each.file.sha256, each.file.size): folder / each.file.name
            for folder in self._versions(name)
            for each in read_manifest(folder).values()
            if _unchanged(folder / each.file.name, each.file.size, each.mtime_ns)
        }

    def _check_room(self, upload: Upload, new: int, reserved: int) -> None:
        config, root = self._config, self._root
        assert root is not None  # noqa: S101 (see `begin`)
        if upload.nbytes > config.max_upload_bytes:
            raise StreaminferError(
                "too_large",
                f"The files have {upload.nbytes} bytes together; {config.max_upload_bytes} are allowed "
                "(c.StreaminferApp.max_upload_bytes).",
                field="files",
            )
        used = sum({(seen.st_dev, seen.st_ino): seen.st_size for seen in self._all_files()}.values())
        free = shutil.disk_usage(root).free
        if used + reserved + new > config.max_store_bytes or new > free:
            raise StreaminferError(
                "overloaded",
                f"The store has no room for {new} bytes: it holds {used} of {config.max_store_bytes} "
                f"(c.StreaminferApp.max_store_bytes), uploads under way will take {reserved}, and its disk has {free} "
                "free. Remove versions that are not needed (DELETE api/models/NAME/versions/VERSION/files).",
                field="files",
            )

    def _all_files(self) -> Iterator[os.stat_result]:
        if self._root is not None and self._root.is_dir():
            for name in self._root.iterdir():
                for folder in self._versions(name.name):
                    for _, seen in model_files(folder):
                        yield seen

    def _versions(self, name: str) -> list[Path]:
        """The folders of a model's versions, the oldest first."""
        if self._root is None or NAME_PATTERN.fullmatch(name) is None or not is_folder(self._root / name):
            return []
        found = []
        for folder in (self._root / name).iterdir():
            if VERSION_PATTERN.fullmatch(folder.name) and is_folder(folder):
                with suppress(OSError):  # it may go meanwhile
                    found.append((folder.lstat().st_mtime_ns, folder))
        return [folder for _, folder in sorted(found)]

    def _folder(self, name: str, version: str) -> Path:
        versions = {folder.name: folder for folder in self._versions(name)}
        if version == LATEST and versions:
            return list(versions.values())[-1]
        try:
            return versions[version]
        except KeyError:
            known = ", ".join(list(versions)[-20:]) or "none"
            raise StreaminferError(
                "model_not_found",
                f"Version {version[:32]!r} of {name[:64]!r} is neither loaded nor in the store (there: {known}).",
                field="version",
            ) from None

    def _read(self, source: Path, name: str, offset: int, length: int) -> bytes:
        found = {path.name: path for path, _ in model_files(source)}
        try:
            with os.fdopen(open_file(found[name]), "rb") as file:
                file.seek(offset)
                return file.read(length)
        except (KeyError, OSError):
            raise StreaminferError(
                "model_not_found",
                f"That version has no file {name[:140]!r}. Its files are: {', '.join(found)[:1000]}.",
                field="file",
            ) from None

    def _remove(self, folder: Path) -> None:
        """Take a version out by one rename, so that nobody finds a part of it, then free its files."""
        assert self._workplace is not None  # noqa: S101 (there is a version)
        with disk():
            grave = self._workplace.open() / secrets.token_hex(16)
            folder.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()


def _check(value: str, good: bool, field: str) -> None:
    if not good:
        raise StreaminferError(
            "invalid_request",
            f"{value[:64]!r} cannot be a model's {field}: it has letters, digits, '.', '_' and '-', the first a letter "
            "or digit, and is not too long; no version is called latest.",
            field=field,
        )


def _unchanged(path: Path, size: int, mtime_ns: int) -> bool:
    try:
        seen = path.lstat()
    except OSError:
        return False
    return (seen.st_size, seen.st_mtime_ns) == (size, mtime_ns)
