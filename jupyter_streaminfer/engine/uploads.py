"""Uploads under way: whose they are, how many there may be, and when one that stopped coming is dropped."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TypeVar

from jupyter_streaminfer.engine.store import Store
from jupyter_streaminfer.engine.upload import Upload
from jupyter_streaminfer.engine.upload_checks import UploadLostError, check_announced
from jupyter_streaminfer.protocol import MAX_CHUNK_BYTES, BeginUpload, StoredModel, StreaminferError, UploadStatus

T = TypeVar("T")

EXPIRES_S = 600.0
"""How long an upload waits for more."""
MAX_UPLOADS = 16
"""Under way at once."""


class _Entry:
    """An upload, and what the event loop knows of it."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.lock = asyncio.Lock()
        """Held while the disk is touched: what comes twice comes one after the other."""
        self.touched = asyncio.get_running_loop().time()
        self.timer: asyncio.TimerHandle | None = None


class Uploads:
    """The uploads of one engine, by id. Every method is to be called on its loop; none blocks it.

    An upload belongs to the client that began it; nobody else finds it. Every refusal is a `StreaminferError`.
    """

    def __init__(self, store: Store, expires_s: float = EXPIRES_S) -> None:
        self._store = store
        self._expires_s = expires_s
        self._entries: dict[str, _Entry] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        """What goes on although whoever asked for it left."""

    async def begin(self, request: BeginUpload, client: str = "") -> UploadStatus:
        """Begin an upload of the files that are announced."""
        check_announced(request.files)
        stored, before = await self._store.stored_versions(request.name), self._under_way()
        # What was committed meanwhile is in the one list, what was begun meanwhile in the other.
        others = {upload.id: upload for upload in before + self._under_way()}.values()
        if len(self._entries) >= MAX_UPLOADS:
            raise StreaminferError(
                "overloaded",
                f"{MAX_UPLOADS} uploads are under way, the most this engine takes. Try again when one ended.",
                retryable=True,
                retry_after_ms=1000.0,
            )
        coming = [upload.version for upload in others if upload.name == request.name]
        version = self._store.new_version(request.name, request.version, [*stored, *coming])
        id = secrets.token_hex(16)
        upload = Upload(id, request, version, client)
        entry = self._entries[id] = _Entry(upload)
        self._arm(entry)
        reserved = sum(upload.nbytes for upload in others)
        try:
            await self._on_disk(entry, lambda: self._store.begin(upload, reserved))
        except StreaminferError:
            await self._drop(entry)
            raise
        return self._status(entry)

    async def status(self, id: str, client: str = "") -> UploadStatus:
        """What came so far."""
        return self._status(self._entry(id, client))

    async def write(self, id: str, file: str, offset: int, data: bytes, client: str = "") -> UploadStatus:
        """Add at most `MAX_CHUNK_BYTES` of a file, which begin where those that are there end."""
        entry = self._entry(id, client)
        entry.upload.file(file)
        if len(data) > MAX_CHUNK_BYTES:
            raise StreaminferError("too_large", f"Send at most {MAX_CHUNK_BYTES} bytes at once.", field="data")
        await self._on_disk(entry, lambda: entry.upload.write(file, offset, data))
        return self._status(entry)

    async def commit(self, id: str, client: str = "") -> StoredModel:
        """Make a version of the store of it, once all of it came. One that is damaged is dropped."""
        entry = self._entry(id, client)
        return await self._on_disk(entry, lambda: self._store.commit(entry.upload), last=True)

    async def abort(self, id: str, client: str = "") -> None:
        """Drop an upload and all that came of it."""
        await self._drop(self._entry(id, client))

    async def close(self) -> None:
        """Drop every upload."""
        await asyncio.gather(*map(self._drop, list(self._entries.values())), *self._tasks, return_exceptions=True)

    def _under_way(self) -> list[Upload]:
        return [entry.upload for entry in self._entries.values()]

    def _entry(self, id: str, client: str) -> _Entry:
        entry = self._entries.get(id)
        if entry is None or entry.upload.client != client:
            raise StreaminferError(
                "upload_not_found",
                f"There is no upload {id[:64]!r} of yours: it was committed or dropped, brought nothing for "
                f"{self._expires_s:g} s, or the server was started again. Begin another one.",
                field="upload",
            )
        return entry

    def _status(self, entry: _Entry) -> UploadStatus:
        upload = entry.upload
        return UploadStatus(upload.id, upload.name, upload.version, dict(upload.received), self._expires_s)

    async def _on_disk(self, entry: _Entry, work: Callable[[], T], last: bool = False) -> T:
        """Do something with an upload beside the loop, after what is being done with it; to its end in any case."""
        task = asyncio.ensure_future(self._locked(entry, work, last))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _locked(self, entry: _Entry, work: Callable[[], T], last: bool) -> T:
        try:
            async with entry.lock:
                self._entry(entry.upload.id, entry.upload.client)
                before = sum(entry.upload.received.values())
                result = await self._store.run(work)
                if sum(entry.upload.received.values()) != before:
                    entry.touched = asyncio.get_running_loop().time()
                if last:
                    self._forget(entry)
        except UploadLostError:
            await self._drop(entry)
            raise
        return result

    async def _drop(self, entry: _Entry) -> None:
        self._forget(entry)
        async with entry.lock:
            await self._store.run(entry.upload.abort)

    def _forget(self, entry: _Entry) -> None:
        self._entries.pop(entry.upload.id, None)
        if entry.timer is not None:
            entry.timer.cancel()

    def _arm(self, entry: _Entry) -> None:
        loop = asyncio.get_running_loop()
        entry.timer = loop.call_at(entry.touched + self._expires_s, self._look, entry)

    def _look(self, entry: _Entry) -> None:
        """Drop an upload that brought nothing for too long."""
        now = asyncio.get_running_loop().time()
        if entry.lock.locked():
            entry.touched = now
        if now < entry.touched + self._expires_s:
            self._arm(entry)
            return
        task = asyncio.ensure_future(self._drop(entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
