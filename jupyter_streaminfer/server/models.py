"""``streaminfer/api/models``: list, load, inspect, configure, roll back, unload."""

from __future__ import annotations

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.protocol import LoadModel, ModelSettings
from jupyter_streaminfer.server.base import RestHandler
from jupyter_streaminfer.server.loading import LoadingHandler

_load_model = msgspec.json.Decoder(LoadModel)
_settings = msgspec.json.Decoder(ModelSettings)


class ModelsHandler(LoadingHandler):
    """The models that are loaded, loading or failed."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"models": [ModelStatus, ...]}``: every version of each."""
        self.reply({"models": self.engine.models()})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Load what a `LoadModel` names; answers with its `ModelStatus` once it is ready (`LoadingHandler`)."""
        request = self.body(_load_model)
        await self.reply_when_loaded(request.name, self.engine.load(**msgspec.structs.asdict(request)))


class ModelHandler(RestHandler):
    """One model, by the version that is its latest."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Its `ModelStatus`."""
        self.reply(self.engine.model(name))

    @web.authenticated
    @authorized
    async def patch(self, name: str) -> None:
        """Change what a `ModelSettings` has while it serves; answers with its `ModelStatus`."""
        settings = self.body(_settings)
        self.reply(await self.engine.configure(name, settings))

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Unload all its versions; their streams end as ``cancelled``."""
        await self.engine.unload(name)
        self.set_status(204)
        self.finish()


class RollbackHandler(LoadingHandler):
    """One model's way back."""

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Go back to the version that was the latest before; answers with its `ModelStatus` once it is."""
        await self.reply_when_loaded(name, self.engine.rollback(name))


default_handlers = [
    (r"/streaminfer/api/models", ModelsHandler),
    (r"/streaminfer/api/models/([^/]+)", ModelHandler),
    (r"/streaminfer/api/models/([^/]+)/rollback", RollbackHandler),
]
