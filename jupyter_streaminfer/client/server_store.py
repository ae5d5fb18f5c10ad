"""The store of a server, over REST."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from jupyter_streaminfer.client.encoding import checked
from jupyter_streaminfer.client.rest import Rest
from jupyter_streaminfer.protocol import MAX_CHUNK_BYTES, BeginUpload, ModelFile, StoredModel, UploadStatus

COMMIT_S = 600.0
"""How long checking large files may take."""


class _Files(msgspec.Struct):
    files: list[ModelFile]


class ServerStore:
    """See `transport.Store`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def begin(self, request: BeginUpload) -> UploadStatus:
        """See `Store.begin`."""
        _, text = checked(request)
        return await self._rest.call("POST", "uploads", UploadStatus, body=text, timeout_s=COMMIT_S)

    async def status(self, id: str) -> UploadStatus:
        """See `Store.status`."""
        return await self._rest.call("GET", f"uploads/{_part(id)}", UploadStatus)

    async def write(self, id: str, file: str, offset: int, data: bytes) -> None:
        """See `Store.write`."""
        path = f"uploads/{_part(id)}/files/{_part(file)}?offset={offset}"
        await self._rest.call("PUT", path, UploadStatus, body=data, timeout_s=COMMIT_S)

    async def commit(self, id: str) -> StoredModel:
        """See `Store.commit`."""
        return await self._rest.call("POST", f"uploads/{_part(id)}/commit", StoredModel, body=b"", timeout_s=COMMIT_S)

    async def abort(self, id: str) -> None:
        """See `Store.abort`."""
        await self._rest.call("DELETE", f"uploads/{_part(id)}", Any)

    async def files(self, name: str, version: str) -> list[ModelFile]:
        """See `Store.files`."""
        path = f"models/{_part(name)}/versions/{_part(version)}/files"
        return (await self._rest.call("GET", path, _Files, timeout_s=COMMIT_S)).files

    async def read(self, name: str, version: str, file: ModelFile, offset: int) -> bytes:
        """See `Store.read`."""
        path = f"models/{_part(name)}/versions/{_part(version)}/files/{_part(file.name)}"
        last = min(offset + MAX_CHUNK_BYTES, file.size) - 1
        return await self._rest.read(path, offset, last, timeout_s=COMMIT_S)


def _part(name: str) -> str:
    return quote(name, safe="")
