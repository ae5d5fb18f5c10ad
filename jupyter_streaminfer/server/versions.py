"""``streaminfer/api/models/NAME/versions``: list, swap, inspect, activate, unload."""

from __future__ import annotations

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.protocol import LoadVersion
from jupyter_streaminfer.server.base import RestHandler
from jupyter_streaminfer.server.loading import LoadingHandler

_load_version = msgspec.json.Decoder(LoadVersion)


class VersionsHandler(LoadingHandler):
    """The versions of one model."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """``{"versions": [ModelStatus, ...], "stored": [VERSION, ...]}``; those in the store need not be loaded."""
        versions = [status for status in self.engine.models() if status.name == name]
        stored = await self.engine.store.stored_versions(name)
        if not versions and not stored:
            self.engine.model(name)
        self.reply({"versions": versions, "stored": stored})

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Swap to what a `LoadVersion` says; answers with its `ModelStatus` once it is ready."""
        request = self.body(_load_version)
        await self.reply_when_loaded(name, self.engine.swap(name, **msgspec.structs.asdict(request)))


class VersionHandler(RestHandler):
    """One version."""

    @web.authenticated
    @authorized
    async def get(self, name: str, version: str) -> None:
        """Its `ModelStatus`."""
        self.reply(self.engine.model(f"{name}@{version}"))

    @web.authenticated
    @authorized
    async def delete(self, name: str, version: str) -> None:
        """Unload it; what is in the store stays there."""
        await self.engine.unload(f"{name}@{version}")
        self.set_status(204)
        self.finish()


class ActivateHandler(LoadingHandler):
    """One version's way to the front."""

    @web.authenticated
    @authorized
    async def post(self, name: str, version: str) -> None:
        """Make it the latest; answers with its `ModelStatus` once it is."""
        await self.reply_when_loaded(name, self.engine.activate(name, version))


default_handlers = [
    (r"/streaminfer/api/models/([^/]+)/versions", VersionsHandler),
    (r"/streaminfer/api/models/([^/]+)/versions/([^/]+)", VersionHandler),
    (r"/streaminfer/api/models/([^/]+)/versions/([^/]+)/activate", ActivateHandler),
]
