"""``streaminfer/api/streams``: list, read, cancel."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.server.base import RestHandler


class StreamsHandler(RestHandler):
    """Every stream that is kept, open or closed."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"streams": [StreamStatus, ...]}``, the oldest first."""
        self.reply({"streams": self.engine.streams()})


class StreamHandler(RestHandler):
    """One stream."""

    @web.authenticated
    @authorized
    async def get(self, id: str) -> None:
        """Its whole log so far, a `StreamDocument`."""
        self.reply(self.engine.stream(id).document())

    @web.authenticated
    @authorized
    async def delete(self, id: str) -> None:
        """Cancel it; a closed one stays as it is, and both can still be read."""
        self.engine.cancel(id)
        self.set_status(204)
        self.finish()


default_handlers = [
    (r"/streaminfer/api/streams", StreamsHandler),
    (r"/streaminfer/api/streams/([^/]+)", StreamHandler),
]
