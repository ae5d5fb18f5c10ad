"""The store of an engine in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_streaminfer.client.encoding import checked
from jupyter_streaminfer.protocol import BeginUpload, ModelFile, StoredModel, UploadStatus

if TYPE_CHECKING:
    from jupyter_streaminfer.engine import Engine


class EmbeddedStore:
    """See `transport.Store`."""

    def __init__(self, engine: Engine, client: str) -> None:
        self._engine = engine
        self._client = client

    async def begin(self, request: BeginUpload) -> UploadStatus:
        """See `Store.begin`."""
        request, _ = checked(request)
        return await self._engine.uploads.begin(request, self._client)

    async def status(self, id: str) -> UploadStatus:
        """See `Store.status`."""
        return await self._engine.uploads.status(id, self._client)

    async def write(self, id: str, file: str, offset: int, data: bytes) -> None:
        """See `Store.write`."""
        await self._engine.uploads.write(id, file, offset, data, self._client)

    async def commit(self, id: str) -> StoredModel:
        """See `Store.commit`."""
        return await self._engine.uploads.commit(id, self._client)

    async def abort(self, id: str) -> None:
        """See `Store.abort`."""
        await self._engine.uploads.abort(id, self._client)

    async def files(self, name: str, version: str) -> list[ModelFile]:
        """See `Store.files`."""
        return await self._engine.store.files(name, version)

    async def read(self, name: str, version: str, file: ModelFile, offset: int) -> bytes:
        """See `Store.read`."""
        return await self._engine.store.read(name, version, file.name, offset)
