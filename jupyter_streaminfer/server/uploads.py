"""``streaminfer/api/uploads``: a model's files on their way into the store, in parts, from where they stopped."""

from __future__ import annotations

import re

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.protocol import MAX_CHUNK_BYTES, BeginUpload, StreaminferError
from jupyter_streaminfer.server.base import RestHandler

PART_BYTES = 2**20
"""What of a body is kept in memory until it goes to the disk."""

_begin_upload = msgspec.json.Decoder(BeginUpload)
_RANGE = re.compile(r"bytes (?P<first>[0-9]{1,18})-(?P<last>[0-9]{1,18})/(?:[0-9]{1,18}|\*)")
_OFFSET = re.compile(r"[0-9]{1,18}")


class UploadsHandler(RestHandler):
    """Where an upload begins."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Begin what a `BeginUpload` announces; answers with its `UploadStatus`."""
        request = self.body(_begin_upload)
        self.reply(await self.engine.uploads.begin(request, self.client), 201)


class UploadHandler(RestHandler):
    """One upload. Nobody finds it but the client that began it."""

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Its `UploadStatus`: from where each file is to go on."""
        self.reply(await self.engine.uploads.status(id, self.client))

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        """Drop it, and all that came."""
        await self.engine.uploads.abort(id, self.client)
        self.set_status(204)
        self.finish()


class UploadFileHandler(RestHandler):
    """One file of an upload. Its bytes go to the disk as they come: what came of a part that broke off counts."""

    max_body_bytes = MAX_CHUNK_BYTES

    def initialize(self) -> None:
        """Begin at an offset that is read once the request is known to be allowed."""
        super().initialize()
        self._offset = 0
        self._taken = 0
        self._refusal: StreaminferError | None = None

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse whoever may not upload, before any of the body is kept."""
        await super().prepare()
        if self.request.method != "PUT":
            return
        await self._check_authorized()
        id, file = self.path_args
        status = await self.engine.uploads.status(id, self.client)
        self._offset = self._begin(status.received.get(file, 0))

    @authorized
    async def _check_authorized(self) -> None:
        """Ask the authorizer, which is asked of the other addresses after their bodies came."""

    async def data_received(self, chunk: bytes) -> None:  # type: ignore[override]
        """Take a piece of the body; a refusal waits for the body's end, as the client reads nothing before."""
        self._taken += len(chunk)
        if self._refusal is None:
            self._body += chunk
            if len(self._body) >= PART_BYTES:
                await self._write()

    @web.authenticated
    async def put(self, id: str, file: str) -> None:
        """Bytes of the file from ``?offset=`` or ``Content-Range`` on, else from where it stopped: `UploadStatus`."""
        await self._write()
        if self._refusal is not None:
            raise self._refusal
        self.reply(await self.engine.uploads.status(id, self.client))

    async def _write(self) -> None:
        id, file = self.path_args
        data = bytes(self._body)
        self._body.clear()
        try:
            if self._taken > MAX_CHUNK_BYTES:
                raise self.too_large()
            await self.engine.uploads.write(id, file, self._offset, data, self.client)
        except StreaminferError as error:
            self._refusal = self._refusal or error
        else:
            self._offset += len(data)

    def _begin(self, received: int) -> int:
        """Where the body's bytes belong; raises `StreaminferError`."""
        offset, content = self.get_query_argument("offset", None), self.request.headers.get("Content-Range")
        if content is not None:
            found = _RANGE.fullmatch(content)
            if found is None:
                raise StreaminferError(
                    "invalid_request", "Content-Range must be as in: bytes 0-1023/4096.", field="Content-Range"
                )
            return int(found["first"])
        if offset is not None and _OFFSET.fullmatch(offset) is None:
            raise StreaminferError("invalid_request", "offset must be a number of bytes.", field="offset")
        return received if offset is None else int(offset)

    def status_of(self, error: StreaminferError) -> int:
        """The HTTP status of a refusal: 409 where the bytes do not follow those that are there."""
        return 409 if error.field == "offset" else super().status_of(error)


class CommitHandler(RestHandler):
    """Where an upload becomes a version."""

    @web.authenticated
    @authorized
    async def post(self, id: str) -> None:
        """Make it a version of the store; answers with the `StoredModel`."""
        self.reply(await self.engine.uploads.commit(id, self.client), 201)

    def status_of(self, error: StreaminferError) -> int:
        """The HTTP status of a refusal: 409 where something is missing yet."""
        return 409 if error.field == "offset" else super().status_of(error)


default_handlers = [
    (r"/streaminfer/api/uploads", UploadsHandler),
    (r"/streaminfer/api/uploads/([^/]+)", UploadHandler),
    (r"/streaminfer/api/uploads/([^/]+)/files/([^/]+)", UploadFileHandler),
    (r"/streaminfer/api/uploads/([^/]+)/commit", CommitHandler),
]
