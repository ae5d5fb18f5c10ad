"""``streaminfer/api/models/NAME/versions/VERSION/files``: a version's files, out of the server again."""

from __future__ import annotations

import re

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from jupyter_streaminfer.protocol import ModelFile, StreaminferError
from jupyter_streaminfer.server.base import RestHandler
from jupyter_streaminfer.server.sse import socket_of

BLOCK_BYTES = 2**20
"""What is read and written at once."""
CONTENT_TYPE = "application/octet-stream"
_RANGE = re.compile(r"bytes=(?=[0-9]+-|-[0-9])(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")


class FilesHandler(RestHandler):
    """The files of a version that is loaded or in the store."""

    @web.authenticated
    @authorized
    async def get(self, name: str, version: str) -> None:
        """``{"files": [ModelFile, ...]}``."""
        self.reply({"files": await self.engine.store.files(name, version)})

    @web.authenticated
    @authorized
    async def delete(self, name: str, version: str) -> None:
        """Remove the version from the store; it must not be loaded."""
        await self.engine.store.remove(name, version)
        self.set_status(204)
        self.finish()


class FileHandler(RestHandler):
    """One file."""

    _file: ModelFile | None = None

    @web.authenticated
    @authorized
    async def get(self, name: str, version: str, file: str) -> None:
        """Its bytes, or those of one ``Range``; the ``ETag`` is its SHA-256."""
        store = self.engine.store
        found = next((each for each in await store.files(name, version) if each.name == file), None)
        if found is None:
            raise StreaminferError(
                "model_not_found",
                f"That version has no file {file[:140]!r}. Ask for the list of its files.",
                field="file",
            )
        self._file = found
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Type", CONTENT_TYPE)
        self.set_header("Content-Disposition", f'attachment; filename="{found.name}"')
        self.set_etag_header()
        if self.check_etag_header():
            self.set_status(304)
        else:
            begin, end = self._range(found)
            self.set_header("Content-Length", end - begin)
            if not await self._send(name, version, file, begin, end):
                return
        await self.finish(set_content_type=CONTENT_TYPE)

    async def _send(self, name: str, version: str, file: str, begin: int, end: int) -> bool:
        """Write a part of a file, no faster than the client takes it; whether all of it was written."""
        while begin < end:
            try:
                block = await self.engine.store.read(name, version, file, begin, min(BLOCK_BYTES, end - begin))
                self.write(block)
                await self.flush()
            except StreamClosedError:
                # The client left.
                return False
            except StreaminferError:
                block = b""
            if not block:
                # It was removed or cut meanwhile. The head is out: a connection that is dropped says so.
                socket_of(self).close()
                return False
            begin += len(block)
        return True

    def compute_etag(self) -> str | None:
        """The file's checksum."""
        return None if self._file is None else f'"{self._file.sha256}"'

    def _range(self, file: ModelFile) -> tuple[int, int]:
        """Where what is asked for begins and ends; raises `StreaminferError` for what is not in the file."""
        asked = _RANGE.fullmatch(self.request.headers.get("Range", ""))
        if asked is None or self.request.headers.get("If-Range", self.compute_etag()) != self.compute_etag():
            return 0, file.size
        first, last = asked["first"], asked["last"]
        begin = int(first) if first else max(0, file.size - int(last))
        end = min(file.size, int(last) + 1) if first and last else file.size
        if begin >= end:
            raise StreaminferError(
                "invalid_request", f"{file.name} has {file.size} bytes, and none of those in Range.", field="Range"
            )
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {begin}-{end - 1}/{file.size}")
        return begin, end

    def status_of(self, error: StreaminferError) -> int:
        """The HTTP status of a refusal: 416 for a part that the file does not have."""
        return 416 if error.field == "Range" else super().status_of(error)


default_handlers = [
    (r"/streaminfer/api/models/([^/]+)/versions/([^/]+)/files", FilesHandler),
    (r"/streaminfer/api/models/([^/]+)/versions/([^/]+)/files/([^/]+)", FileHandler),
]
