"""``streaminfer/api/models``: list, load, inspect, unload."""

from __future__ import annotations

import msgspec
from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_streaminfer.protocol import LoadModel
from jupyter_streaminfer.server.base import RestHandler

_load_model = msgspec.json.Decoder(LoadModel)


class ModelsHandler(RestHandler):
    """The models that are loaded, loading or failed."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"models": [ModelStatus, ...]}``."""
        self.reply({"models": self.engine.models()})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Load what a `LoadModel` names; answers with its `ModelStatus` once it is warmed up."""
        request = self.body(_load_model)
        self.reply(await self.engine.load(request.name, request.path, request.dtype, request.placement))


class ModelHandler(RestHandler):
    """One model."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Its `ModelStatus`."""
        self.reply(self.engine.model(name))

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Unload it; its streams end as ``cancelled``."""
        await self.engine.unload(name)
        self.set_status(204)
        self.finish()


default_handlers = [
    (r"/streaminfer/api/models", ModelsHandler),
    (r"/streaminfer/api/models/([^/]+)", ModelHandler),
]
