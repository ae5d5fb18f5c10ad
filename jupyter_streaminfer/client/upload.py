"""A folder's files on their way into the store, whatever happens to the connection meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path

from jupyter_streaminfer.client.progress import Report, Step
from jupyter_streaminfer.client.retries import Retries
from jupyter_streaminfer.client.transport import Store
from jupyter_streaminfer.protocol import (
    FILE_PATTERN,
    MAX_CHUNK_BYTES,
    BeginUpload,
    ModelFile,
    StoredModel,
    StreaminferError,
)

PATIENCE = Retries(limit=8, total_s=60.0)
"""With each chunk: a connection that comes back is worth waiting for."""


def announced(folder: Path) -> list[ModelFile]:
    """The files of a folder that a model may have, as an upload announces them; each is read whole.

    Raises `StreaminferError` where there are none.
    """
    files = []
    try:
        paths = sorted(path for path in folder.iterdir() if FILE_PATTERN.fullmatch(path.name) and path.is_file())
    except OSError as error:
        raise StreaminferError("invalid_request", f"{folder} is no folder: {error.strerror}.", field="folder") from None
    if not paths:
        raise StreaminferError(
            "invalid_request",
            f"{folder} has no file of a model (.json, .safetensors, .pt2, .skops, .txt, .model, .jinja).",
            field="folder",
        )
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            files.append(ModelFile(path.name, file.tell(), digest))
    return files


async def upload(store: Store, request: BeginUpload, folder: Path, report: Report) -> StoredModel:
    """Send the files that ``request`` announces, but for those that the store has, and make a version of them.

    A chunk whose connection was lost is sent again from where the store says; after anything else, and after being
    cancelled, nothing of it is left there.
    """
    status = await PATIENCE.run(lambda: store.begin(request), pure=True)
    try:
        # A file that is there in full counts as sent: it need not be.
        sent = sum(status.received.values())
        total = sum(file.size for file in request.files)
        for file in request.files:
            offset = status.received.get(file.name, 0)
            while offset < file.size:
                report(Step(f"{request.name}: {file.name}", sent, total))
                reached = await _push(store, status.id, folder, file, offset)
                sent, offset = sent + reached - offset, reached
        report(Step(f"{request.name}: checking", sent, total))
        return await store.commit(status.id)
    except BaseException:
        with suppress(StreaminferError):
            await store.abort(status.id)
        raise


async def _push(store: Store, id: str, folder: Path, file: ModelFile, offset: int) -> int:
    """Send one chunk; up to where the file is there then."""
    lost = False

    async def attempt() -> int:
        nonlocal lost, offset
        if lost:
            offset = (await store.status(id)).received[file.name]
        lost = True
        data = await asyncio.to_thread(_read, folder / file.name, offset)
        if data:
            await store.write(id, file.name, offset, data)
        elif offset < file.size:
            raise StreaminferError("invalid_request", f"{file.name} became shorter while it was sent.", field="files")
        return offset + len(data)

    return await PATIENCE.run(attempt, pure=True)


def _read(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(MAX_CHUNK_BYTES)
