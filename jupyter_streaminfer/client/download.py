"""A version's files on their way out of the server."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from jupyter_streaminfer.client.progress import Report, Step
from jupyter_streaminfer.client.transport import Store
from jupyter_streaminfer.client.upload import PATIENCE
from jupyter_streaminfer.protocol import FILE_PATTERN, MAX_UPLOAD_FILES, ModelFile, StreaminferError


class Download:
    """One version's files into a folder, each checked and only then given its name.

    Files that are there already are not brought again; one that was interrupted goes on where it was.
    """

    def __init__(self, store: Store, name: str, version: str, folder: Path, report: Report) -> None:
        self._store = store
        self._name = name
        self._version = version
        self._folder = folder
        self._report = report
        self._done = 0
        self._total = 0

    async def run(self) -> None:
        """Bring all of them; raises `StreaminferError` where one does not come, or comes damaged."""
        files = await PATIENCE.run(lambda: self._store.files(self._name, self._version), pure=True)
        self._total = sum(file.size for file in files)
        for file in files:
            # A server is not to choose where its files lie here.
            if FILE_PATTERN.fullmatch(file.name) is None or len(files) > MAX_UPLOAD_FILES:
                raise StreaminferError("invalid_request", f"The server names a file {file.name!r:.80}: it is refused.")
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        for file in files:
            path = self._folder / file.name
            if not await asyncio.to_thread(_matches, path, file):
                await self._bring(path, file)
            self._done += file.size

    async def _bring(self, path: Path, file: ModelFile) -> None:
        part = path.with_name(f".{path.name}.{file.sha256[:16]}.part")
        size = await asyncio.to_thread(_size, part)
        while size < file.size:
            self._report(Step(f"{self._name}: {file.name}", self._done + size, self._total))
            data = await PATIENCE.run(
                lambda offset=size: self._store.read(self._name, self._version, file, offset),  # type: ignore[misc]
                pure=True,
            )
            if not data:
                break
            await asyncio.to_thread(_append, part, data)
            size += len(data)
        if not await asyncio.to_thread(_matches, part, file):
            await asyncio.to_thread(part.unlink, missing_ok=True)
            raise StreaminferError(
                "internal", f"{file.name} did not come as it is there: its checksum differs. Download it again."
            )
        await asyncio.to_thread(part.replace, path)


def _matches(path: Path, file: ModelFile) -> bool:
    if _size(path) != file.size or not path.is_file():
        return False
    with path.open("rb") as found:
        return hashlib.file_digest(found, "sha256").hexdigest() == file.sha256


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
